"""The key pairs of a daemon and of a client: made once, the secret kept by nobody else."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import Final, Literal

from agentd.errors import ConfigError
from agentd.keys.encoding import decode_key, encode_key, fingerprint
from agentd.keys.files import make_folder, quoted, read_toml, write_new
from agentd.transport.curve import new_pair, public_of

__all__ = ["Kind", "Pair", "check_name", "load_pair", "make_pair", "pair_path", "public_from"]

Kind = Literal["server", "client"]
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}\Z")


@dataclass(frozen=True, slots=True)
class Pair:
    """A key pair, 32 bytes each. The secret shows in no ``repr``."""

    public: bytes
    secret: bytes

    def __repr__(self) -> str:
        return f"<pair {fingerprint(self.public)}>"


def check_name(name: str) -> str:
    """``ConfigError`` unless it can be the name of a file, without surprises."""
    if not _NAME.match(name):
        raise ConfigError(
            f"{name!r} is not a name; take letters, digits, '.', '_' and '-', 63 at most"
        )
    return name


def pair_path(folder: str, kind: Kind, what: Literal["secret", "pub"]) -> str:
    """Where that half of the pair lies."""
    return os.path.join(folder, f"{kind}.{what}")


def make_pair(folder: str, kind: Kind, name: str) -> Pair:
    """Make a new pair and write both halves; ``ConfigError`` if there is one already."""
    check_name(name)
    make_folder(folder)
    public, secret = new_pair()
    write_new(
        pair_path(folder, kind, "secret"),
        f"# The secret key of an agentd {kind}. Whoever has it can pose as it: show it to nobody.\n"
        f"secret = {quoted(encode_key(secret))}\n",
    )
    write_new(
        pair_path(folder, kind, "pub"),
        f"# The public key of an agentd {kind}, no secret: {fingerprint(public)}\n"
        f"kind = {quoted(kind)}\nname = {quoted(name)}\nkey = {quoted(encode_key(public))}\n",
        replace=True,  # one whose secret is gone is of no use
    )
    return Pair(public, secret)


def load_pair(folder: str, kind: Kind) -> Pair:
    """Read the pair; ``ConfigError`` tells what is wrong, and what makes one."""
    path = pair_path(folder, kind, "secret")
    try:
        text = read_toml(path, secret=True).get("secret")
    except FileNotFoundError:
        raise ConfigError(
            f"there is no {kind} key ({path}); make one with: agentctl keygen {kind}"
        ) from None
    except NotADirectoryError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from error
    try:
        secret = decode_key(text if isinstance(text, str) else "")
    except ConfigError:
        raise ConfigError(f"{path} holds no key; make a new one") from None
    return Pair(public_of(secret), secret)


def public_from(source: str, kind: Kind) -> tuple[bytes, str | None]:
    """A public key given as text or as the file of ``keygen``, and the name in the file.

    ``ConfigError`` for what is neither, for the key of the other ``kind``, and for a secret.
    """
    if not os.path.exists(source):
        try:
            return decode_key(source), None
        except ConfigError as error:
            raise ConfigError(f"{source!r} is neither a file nor a key") from error
    try:
        with open(source, encoding="utf-8") as file:
            import tomllib

            table = tomllib.loads(file.read(65_536))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{source} cannot be read as a public key") from error
    if "secret" in table:
        raise ConfigError(f"{source} is the secret; the public half is the file that ends in .pub")
    key, name = table.get("key"), table.get("name")
    if not isinstance(key, str):
        raise ConfigError(f"{source} holds no public key")
    if table.get("kind", kind) != kind:
        raise ConfigError(f"{source} is the key of a {table['kind']}; a {kind}'s is needed here")
    return decode_key(key), name if isinstance(name, str) and _NAME.match(name) else None
