"""The version of the package; the protocol has its own (``agentd.protocol.version``)."""

__version__ = "0.1.0"
