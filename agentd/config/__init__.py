"""The daemon's settings: one frozen value, built once by ``load`` and passed down."""

from agentd.config.checking import ports_of
from agentd.config.describing import Setting, describe
from agentd.config.reading import OTHER_VARIABLES, load
from agentd.config.settings import ServerConfig

__all__ = ["OTHER_VARIABLES", "ServerConfig", "Setting", "describe", "load", "ports_of"]
