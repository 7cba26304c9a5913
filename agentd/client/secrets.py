"""``agentd.Secret``: the name of a value that stays on the daemon's host.

The name travels, the value never does: it is looked up in the worker, when ``reveal`` is called, in
what ``sources`` were installed there. A value that was revealed is left out of what the process
prints and of the errors that leave it (see ``agentd.client.redaction``).
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Mapping
from typing import Any, Final

from agentd.client.redaction import redactions
from agentd.client.references import SECRET
from agentd.errors import ConfigError, DecodeError, SecretNotFound

__all__ = ["Secret", "Sources", "install", "read_source"]

MAX_BYTES: Final = 64 * 1024
"""A larger file is none that holds a key or a password."""

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}\Z")
_DIRECT: Final = re.compile(
    r"env:[A-Za-z_][A-Za-z0-9_]*\Z|file:/[^\0]+\Z|keyring:[^\0/]+/[^\0]+\Z", re.DOTALL
)
_EXPECTED: Final = (
    "the name of an entry in the daemon's table of secrets, or env:VARIABLE, file:/absolute/path, "
    "keyring:SERVICE/USER"
)


class Secret:
    """A value of the daemon's host, by reference: ``Secret("openai")``.

    It names an entry of the daemon's setting ``secrets``. ``Secret("env:NAME")``,
    ``Secret("file:/path")`` and ``Secret("keyring:service/user")`` say themselves where the value
    is; only who may send code to a daemon may send those. It may be an argument, an attribute, part
    of any data; text, pickles and copies of it hold the name alone. ``ConfigError`` for anything
    else, which is not repeated in the message: it may be the value itself.
    """

    __slots__ = ("_name",)

    def __init__(self, name: str) -> None:
        given: object = name
        if not isinstance(given, str) or not (_NAME.match(given) or _DIRECT.match(given)):
            raise ConfigError(f"a secret is {_EXPECTED}")
        self._name = name

    @property
    def name(self) -> str:
        """The entry, or the source."""
        return self._name

    @property
    def is_direct(self) -> bool:
        """Whether it says itself where the value is."""
        return ":" in self._name

    def reveal(self) -> str:
        """The value, looked up now; in the worker that hosts the agent, or in a program of yours.

        Reads a file or asks a keyring, so it may block for a moment. Raises ``SecretNotFound``.
        """
        value = _sources[0].value_of(self)
        redactions.add(self._name, value)
        return value

    def agentd_reference(self) -> tuple[Any, ...]:
        """As it travels."""
        return (SECRET, self._name)

    @classmethod
    def arrived(cls, wire: tuple[Any, ...]) -> Secret:
        """The secret behind a reference; ``DecodeError`` for what is none."""
        try:
            _mark, name = wire
            return cls(name)
        except (ConfigError, ValueError) as error:
            raise DecodeError("a reference to a secret is malformed") from error

    def __repr__(self) -> str:
        return f"Secret({self._name!r})"

    def __str__(self) -> str:
        return f"[secret {self._name}]"

    def __format__(self, spec: str) -> str:
        return format(str(self), spec)

    def __eq__(self, other: object) -> bool:
        return self._name == other._name if isinstance(other, Secret) else NotImplemented

    def __hash__(self) -> int:
        return hash((Secret, self._name))

    def __copy__(self) -> Secret:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Secret:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return Secret, (self._name,)

    @classmethod
    def __get_pydantic_core_schema__(cls, _source: Any, _handler: Any) -> Any:
        """A field of a pydantic model; in JSON it is the name.

        Text makes a secret with a name only: who may send text need not be one who may say where
        on this host to look.
        """
        from pydantic_core import core_schema

        return core_schema.no_info_plain_validator_function(
            _from_text,
            serialization=core_schema.plain_serializer_function_ser_schema(
                lambda secret: secret.name, when_used="json"
            ),
        )


def _from_text(value: Any) -> Secret:
    if isinstance(value, Secret):
        return value
    if isinstance(value, str) and _NAME.match(value):
        return Secret(value)
    raise ValueError("a secret is an agentd.Secret, or the name of one")


class Sources:
    """Where this process finds the values.

    ``table``: the sources by name; ``values``: those that the daemon looked up itself.
    """

    def __init__(
        self, table: Mapping[str, str] | None = None, values: Mapping[str, str] | None = None
    ) -> None:
        self._table = table
        self._values = values or {}

    def value_of(self, secret: Secret) -> str:
        """The value; raises ``SecretNotFound``."""
        name = secret.name
        if name in self._values:
            return self._values[name]
        if secret.is_direct:
            return read_source(name, name)
        if self._table is None:
            raise SecretNotFound(
                f"the secret {name!r} is an entry of a daemon's table, and no daemon hosts this; "
                'here it can be Secret("env:VARIABLE") or Secret("file:/path")',
                secret=name,
            )
        if name not in self._table:
            raise SecretNotFound(
                f"the daemon has no secret {name!r}; put it into its setting secrets, like "
                f'{name} = "file:/path/of/it"',
                secret=name,
            )
        return read_source(name, self._table[name])


_sources = [Sources()]


def install(sources: Sources) -> None:
    """Once, by a worker: what its daemon told it."""
    _sources[0] = sources


def read_source(name: str, source: str) -> str:
    """The value behind ``env:``, ``file:`` or ``keyring:``; the errors call it ``name``."""
    kind, _, where = source.partition(":")
    match kind:
        case "env":
            value = os.environ.get(where)
        case "file":
            value = _read_file(name, where)
        case "keyring":
            value = _ask_keyring(name, where)
        case _:
            raise SecretNotFound(f"the secret {name!r} has a source of no known kind", secret=name)
    if value is None:
        raise SecretNotFound(f"the secret {name!r} is not there: {_absent(source)}", secret=name)
    if not value:
        raise SecretNotFound(f"the secret {name!r} is empty at {source}", secret=name)
    return value


def _absent(source: str) -> str:
    kind, _, where = source.partition(":")
    if kind == "env":
        return f"the variable {where} is not set in the daemon's environment"
    return f"the keyring has no password for {where}"


def _read_file(name: str, path: str) -> str:
    """Its text, without the line end that editors add."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        with open(fd, "rb") as file:
            found = os.fstat(fd)
            if not stat.S_ISREG(found.st_mode) or found.st_size > MAX_BYTES:
                raise SecretNotFound(
                    f"the secret {name!r}: {path} is no file of at most {MAX_BYTES >> 10} KiB",
                    secret=name,
                )
            text = file.read(MAX_BYTES).decode()
    except OSError as error:
        raise SecretNotFound(
            f"the secret {name!r} cannot be read: {path}: {error.strerror}", secret=name
        ) from error
    except UnicodeDecodeError:  # not as the cause: it holds what was read
        raise SecretNotFound(f"the secret {name!r}: {path} is no text", secret=name) from None
    return text.removesuffix("\n").removesuffix("\r")


def _ask_keyring(name: str, where: str) -> str | None:
    service, _, user = where.partition("/")
    try:
        import keyring
    except ImportError as error:
        raise SecretNotFound(
            f"the secret {name!r} is in the keyring; for that the daemon's host needs: "
            "pip install 'agentd-server[keyring]'",
            secret=name,
        ) from error
    try:
        found: str | None = keyring.get_password(service, user)
    except Exception as error:  # each backend raises its own
        raise SecretNotFound(
            f"the secret {name!r}: the keyring failed ({type(error).__name__})", secret=name
        ) from error
    return found
