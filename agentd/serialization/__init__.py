"""Python values to payloads and back, climbing msgpack → pickle 5 → dill as far as needed.

A payload is an `Encoded`: the codec, a head and buffers. The codec is recorded, never guessed. All
functions are safe to call from many threads at once. What cannot travel is a
``SerializationError`` that names the part at fault; what cannot be rebuilt is a ``DecodeError``.
"""

from __future__ import annotations

from agentd.serialization.contract import Encoded, Redaction, References, Refusal
from agentd.serialization.data import unpack as unpack_data
from agentd.serialization.data import unpack_plain
from agentd.serialization.definitions import definition_of
from agentd.serialization.payloads import (
    decode,
    decode_call,
    decode_spec,
    encode,
    encode_call,
    encode_object,
    encode_spec,
    import_class,
    plain_call,
    plain_value,
)
from agentd.serialization.records import construct_dataclass, loaded, loaded_dataclass
from agentd.serialization.reports import decode_error, encode_error
from agentd.serialization.sources import Bundle, bundle_of

__all__ = [
    "Bundle",
    "Encoded",
    "Redaction",
    "References",
    "Refusal",
    "bundle_of",
    "construct_dataclass",
    "decode",
    "decode_call",
    "decode_error",
    "decode_spec",
    "definition_of",
    "encode",
    "encode_call",
    "encode_error",
    "encode_object",
    "encode_spec",
    "import_class",
    "loaded",
    "loaded_dataclass",
    "plain_call",
    "plain_value",
    "unpack_data",
    "unpack_plain",
]
