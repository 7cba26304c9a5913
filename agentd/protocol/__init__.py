"""What may be said, as values and as bytes. No sockets, no clocks, no threads."""

from agentd.protocol import messages
from agentd.protocol.beats import Beats
from agentd.protocol.envelope import MAX_FRAMES, MAX_HEADER_BYTES, Frames, pack, unpack
from agentd.protocol.failure import defect_message, error_message, fit, unmet
from agentd.protocol.lateness import QUIET_BEATS, Lateness, patience
from agentd.protocol.scan import HeaderLimits
from agentd.protocol.version import PROTOCOL, Versions, is_compiled, local_versions

__all__ = [
    "MAX_FRAMES",
    "MAX_HEADER_BYTES",
    "PROTOCOL",
    "QUIET_BEATS",
    "Beats",
    "Frames",
    "HeaderLimits",
    "Lateness",
    "Versions",
    "defect_message",
    "error_message",
    "fit",
    "is_compiled",
    "local_versions",
    "messages",
    "pack",
    "patience",
    "unmet",
    "unpack",
]
