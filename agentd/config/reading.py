"""The settings of a daemon, from a file, the environment and flags: ``load``.

Where a setting comes from, the first that has it wins::

    flag  >  environment (AGENTD_<KEY>)  >  TOML file  >  default

An unknown key is an error that names the nearest right one: a misspelt limit must not pass
unseen. An empty environment variable counts as not set. Lists are written comma separated in
``AGENTD_BIND`` and like ``PATH`` in ``AGENTD_PATH``.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import Field, fields
from typing import Any, Final

from agentd.config.checking import Table, check, kind
from agentd.config.settings import ServerConfig
from agentd.errors import ConfigError

__all__ = ["OTHER_VARIABLES", "load", "variable_of"]

_PREFIX: Final = "AGENTD_"

OTHER_VARIABLES: Final[Mapping[str, str]] = {
    "AGENTD_ENDPOINT": "the daemon that clients and agentctl use",
}
"""Variables named ``AGENTD_*`` that are not settings of the daemon, which leaves them alone."""


def load(
    file: str | os.PathLike[str] | None = None,
    env: Mapping[str, str] | None = None,
    flags: Mapping[str, object] | None = None,
) -> ServerConfig:
    """Build the settings from a TOML file, the environment (default: this process's) and flags.

    A flag that is ``None`` or an empty tuple was not given. Folders become absolute; relative ones
    in a file count from that file's folder. Raises ``ConfigError``, which names source, key, value
    and what is expected.
    """
    found: dict[str, Any] = {}
    if file is not None:
        found.update(_from_file(os.fspath(file)))
    found.update(_from_env(os.environ if env is None else env))
    found.update(_from_flags(flags or {}))
    return ServerConfig(**found)


# -- sources ---------------------------------------------------------------------------------------


def _from_file(file: str) -> dict[str, Any]:
    import tomllib  # only daemons with a file pay for the parser

    try:
        with open(file, encoding="utf-8") as opened:
            table = tomllib.loads(opened.read())
    except OSError as error:
        raise ConfigError(f"{file}: cannot be read: {error.strerror}", source=file) from error
    except ValueError as error:  # not TOML, or not UTF-8
        raise ConfigError(f"{file}: not a TOML file: {error}", source=file) from error
    found = {}
    for key, value in table.items():
        setting = _known(key, file)
        found[key] = check(setting, _normal(setting, value), file, shown=value)
    return _anchored(found, os.path.dirname(file))


def _anchored(found: dict[str, Any], folder: str = "") -> dict[str, Any]:
    """Make folders absolute: workers need not run where the daemon was started."""

    def absolute(value: str) -> str:
        return os.path.abspath(os.path.join(folder, os.path.expanduser(value)))

    if "path" in found:
        found["path"] = tuple(map(absolute, found["path"]))
    for key in ("run_dir", "config_dir"):
        if found.get(key):
            found[key] = absolute(found[key])
    if found.get("audit_file", "off") not in ("off", ""):
        found["audit_file"] = absolute(found["audit_file"])
    return found


def _from_env(env: Mapping[str, str]) -> dict[str, Any]:
    by_variable = {variable_of(f): f for f in fields(ServerConfig)}
    found = {}
    for variable, text in env.items():
        if not variable.startswith(_PREFIX) or variable in OTHER_VARIABLES or not text:
            continue
        if variable not in by_variable:
            raise _unknown(variable, "environment", [*by_variable, *OTHER_VARIABLES])
        setting = by_variable[variable]
        parsed = _normal(setting, _READERS[kind(setting)](setting.name, text))
        found[setting.name] = check(setting, parsed, "environment", name=variable, shown=text)
    return _anchored(found)


def _from_flags(flags: Mapping[str, object]) -> dict[str, Any]:
    found = {}
    for key, value in flags.items():
        if value is None or value == ():
            continue
        setting = _known(key, "flag")
        option = "--" + key.replace("_", "-")
        found[key] = check(setting, _normal(setting, value), "flag", name=option, shown=value)
    return _anchored(found)


# -- keys ------------------------------------------------------------------------------------------


def variable_of(setting: Field[Any]) -> str:
    """The variable of the environment by which it may be set."""
    return _PREFIX + setting.name.upper()


def _known(key: str, source: str) -> Field[Any]:
    by_name = {f.name: f for f in fields(ServerConfig)}
    if key not in by_name:
        raise _unknown(key, source, list(by_name))
    return by_name[key]


def _unknown(key: str, source: str, right: list[str]) -> ConfigError:
    from difflib import get_close_matches  # only on the way to an error

    near = get_close_matches(key, right, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(sorted(right))}"
    return ConfigError(f"{source}: unknown setting {key}; {hint}", source=source, key=key)


# -- values ----------------------------------------------------------------------------------------


def _read_list(key: str, text: str) -> tuple[str, ...]:
    separator = os.pathsep if key == "path" else ","
    return tuple(item.strip() for item in text.split(separator) if item.strip())


def _read_number(kind: Callable[[str], object]) -> Callable[[str, str], object]:
    def read(_key: str, text: str) -> object:
        try:
            return kind(text)
        except ValueError:
            return text  # of the wrong type, which the check tells in its words

    return read


def _read_table(_key: str, text: str) -> object:
    pairs = [item.partition("=") for item in text.split(",") if item.strip()]
    if not all(equals for _name, equals, _value in pairs):
        return text  # of the wrong type
    return {name.strip(): value.strip() for name, _, value in pairs}


_BOOLS: Final = {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}

_READERS: Final[Mapping[type, Callable[[str, str], object]]] = {
    tuple: _read_list,
    Table: _read_table,
    bool: lambda _key, text: _BOOLS.get(text.lower(), text),
    int: _read_number(int),
    float: _read_number(float),
    str: lambda _key, text: text,
}


def _normal(setting: Field[Any], value: Any) -> Any:
    """Take what people write for what is meant: a list, a whole number of seconds, INFO."""
    wanted = kind(setting)
    if setting.metadata["choices"] and isinstance(value, str):
        return value.lower()
    if wanted is Table and isinstance(value, dict):
        return Table(value)
    if wanted is tuple and isinstance(value, list):
        return tuple(value)
    if wanted is float and type(value) is int:
        return float(value)
    return value
