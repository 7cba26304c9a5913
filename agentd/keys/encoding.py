"""Keys as text (Z85, ZeroMQ RFC 32) and the names of those who hold them."""

from __future__ import annotations

import hashlib
from typing import Final

from agentd.errors import ConfigError

__all__ = ["KEY_BYTES", "decode_key", "encode_key", "fingerprint", "who_of"]

KEY_BYTES: Final = 32
_TEXT_LENGTH: Final = 40
_ALPHABET: Final = (
    "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-:+=^!/*?&<>()[]{}@%$#"
)
_VALUES: Final = {char: value for value, char in enumerate(_ALPHABET)}


def encode_key(key: bytes) -> str:
    """The 40 characters of a key of 32 bytes."""
    text = ""
    for at in range(0, len(key), 4):
        number = int.from_bytes(key[at : at + 4], "big")
        digits = ""
        for _ in range(5):
            number, digit = divmod(number, 85)
            digits = _ALPHABET[digit] + digits
        text += digits
    return text


def decode_key(text: str) -> bytes:
    """The 32 bytes of a key; ``ConfigError`` for what is none."""
    numbers = [_VALUES.get(char) for char in text]
    if len(text) != _TEXT_LENGTH or None in numbers:
        raise ConfigError(f"not a key: a key is written as {_TEXT_LENGTH} characters of Z85")
    key = b""
    for at in range(0, _TEXT_LENGTH, 5):
        number = 0
        for digit in numbers[at : at + 5]:
            number = number * 85 + (digit or 0)
        if number >= 2**32:
            raise ConfigError("not a key: these characters stand for no bytes")
        key += number.to_bytes(4, "big")
    return key


def fingerprint(key: bytes) -> str:
    """How people and logs tell a public key: 128 bits of its SHA-256, in hex."""
    return hashlib.sha256(key).hexdigest()[:32]


def who_of(key: bytes) -> str:
    """The name of whoever holds the secret of this public key."""
    return f"key:{fingerprint(key)}"
