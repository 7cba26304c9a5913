"""Pinned servers: which key a server elsewhere must have, and whether its pickles are believed.

There is no trust on first use: who answers first at an address is whoever is quicker.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from urllib.parse import quote

from agentd.errors import AgentdError, ConfigError
from agentd.keys.encoding import decode_key, encode_key, fingerprint
from agentd.keys.files import check_folder, make_folder, quoted, read_toml, write_new
from agentd.transport.endpoint import TcpEndpoint, parse_tcp

__all__ = ["Pin", "known_servers", "pin_for", "remove_pin", "write_pin"]


@dataclass(frozen=True, slots=True)
class Pin:
    """One server elsewhere."""

    endpoint: str
    key: bytes
    code: bool
    """Whether results that it sends may be unpickled here: that is to run code which it chose."""


def _folder(folder: str) -> str:
    return os.path.join(folder, "known_servers.d")


def _path(folder: str, endpoint: TcpEndpoint) -> str:
    name = f"{quote(endpoint.host.lower(), safe='')}_{endpoint.port}.toml"
    return os.path.join(_folder(folder), name)


def pin_for(folder: str, endpoint: str) -> Pin:
    """The pin; ``ConfigError`` names the command that makes one."""
    where = parse_tcp(endpoint)
    path = _path(folder, where)
    try:
        check_folder(_folder(folder))
        pin = _read(path)
    except (FileNotFoundError, NotADirectoryError):
        raise ConfigError(
            f"{where} is not trusted: its key is not known here. Get its server.pub by a way that "
            f"you trust, then: agentctl trust add {where} server.pub",
            endpoint=str(where),
        ) from None
    if parse_tcp(pin.endpoint.lower()) != parse_tcp(str(where).lower()):
        raise ConfigError(f"{path} is about {pin.endpoint}, not {where}")
    return pin


def _read(path: str) -> Pin:
    table = read_toml(path)
    endpoint, key, code = table.get("endpoint"), table.get("key"), table.get("code")
    known = {"endpoint", "key", "code"}
    if not (isinstance(endpoint, str) and isinstance(key, str) and isinstance(code, bool)) or (
        table.keys() - known
    ):
        raise ConfigError(f"{path} must have endpoint, key and code, and nothing else")
    try:
        return Pin(endpoint, decode_key(key), code)
    except AgentdError as error:
        raise ConfigError(f"{path}: {error.message}") from None


def write_pin(folder: str, endpoint: str, key: bytes, *, code: bool) -> Pin:
    """Pin a server's key, in place of the one before."""
    where = parse_tcp(endpoint)
    if not where.port:
        raise ConfigError(f"{where}: a server is pinned with the port that it listens on")
    make_folder(folder)
    make_folder(_folder(folder))
    pin = Pin(str(where), key, code)
    write_new(
        _path(folder, where),
        f"# {fingerprint(key)}\nendpoint = {quoted(pin.endpoint)}\n"
        f"key = {quoted(encode_key(key))}\ncode = {str(code).lower()}\n",
        replace=True,
    )
    return pin


def remove_pin(folder: str, endpoint: str) -> None:
    """Trust it no more; ``ConfigError`` if it was not trusted."""
    where = parse_tcp(endpoint)
    try:
        os.unlink(_path(folder, where))
    except FileNotFoundError:
        raise ConfigError(f"{where} was not trusted; see: agentctl trust list") from None


def known_servers(folder: str) -> tuple[list[Pin], list[str]]:
    """All pins, and what is wrong with those that cannot be used."""
    place = _folder(folder)
    pins, wrong = [], []
    try:
        check_folder(place)
        names = sorted(os.listdir(place))
    except FileNotFoundError:
        return [], []
    except OSError as error:
        return [], [f"{place}: {error.strerror}"]
    except ConfigError as error:
        return [], [error.message]
    for name in names:
        if name.endswith(".toml") and not name.startswith("."):
            try:
                pins.append(_read(os.path.join(place, name)))
            except ConfigError as error:
                wrong.append(error.message)
    return pins, wrong
