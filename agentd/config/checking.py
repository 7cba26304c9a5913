"""What a setting may be: how its kinds and limits are declared, and what is wrong with a value."""

from __future__ import annotations

import math
import re
from dataclasses import MISSING, Field, field
from typing import Any, Final, TypeVar

from agentd.errors import ConfigError

__all__ = ["Table", "check", "kind", "ports_of", "setting"]

_T = TypeVar("_T")
_SOURCE: Final = re.compile(r"env:[A-Za-z_]\w*|file:/[^\0]+|keyring:[^\0/]+/[^\0]+")
_PORTS: Final = re.compile(r"([0-9]{1,5})-([0-9]{1,5})")
_SECRET_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")


class Table(dict[str, str]):
    """A table of text in the settings; nobody changes it."""

    def __hash__(self) -> int:  # type: ignore[override]
        return hash(frozenset(self.items()))


def setting(
    default: _T,
    why: str,
    *,
    low: float | None = None,
    above: float | None = None,
    high: float | None = None,
    choices: tuple[str, ...] = (),
) -> _T:
    """Declare a field with its reason and its limits (``above`` itself is not allowed)."""
    limits = {"low": low, "above": above, "high": high, "choices": choices}
    declared: _T = field(default=default, metadata={"why": why, **limits})
    return declared


def kind(each: Field[Any]) -> type:
    """Of what type its values are."""
    return type(each.default)


def check(
    each: Field[Any],
    value: Any,
    source: str,
    *,
    name: str | None = None,
    shown: object = MISSING,
) -> Any:
    """Return the value if the setting may have it, else raise ``ConfigError``."""
    wrong = _what_is_wrong(each, value)
    if wrong is None:
        return value
    shown = value if shown is MISSING else shown
    if each.name == "secrets":
        shown = "…"  # somebody may have written the secret itself
    if isinstance(shown, (list, tuple)) and all(isinstance(item, str) for item in shown):
        shown = ", ".join(shown)  # as people write it
    raise ConfigError(
        f"{source}: {name or each.name} = {shown!r}: {wrong}",
        source=source,
        key=each.name,
        value=shown,
        expected=wrong,
    )


def _what_is_wrong(each: Field[Any], value: Any) -> str | None:
    wanted = kind(each)
    if wanted is Table:
        return _wrong_specs(value) if each.name == "specs" else _wrong_secrets(value)
    if wanted is tuple:
        if not isinstance(value, tuple) or not all(isinstance(v, str) and v for v in value):
            return "expected a list of text"
        return _wrong_endpoint(value) if each.name == "bind" else None
    if wanted is bool:
        return None if type(value) is bool else "expected true or false"
    choices: tuple[str, ...] = each.metadata["choices"]
    if choices:
        return None if value in choices else f"expected one of {', '.join(choices)}"
    if wanted is str:
        if not isinstance(value, str):
            return "expected text"
        return _wrong_ports(value) if each.name == "worker_ports" else None
    whole_for_seconds = wanted is float and type(value) is int
    if (type(value) is wanted or whole_for_seconds) and _within(each, value):
        return None
    what = "a whole number" if wanted is int else "seconds"
    return f"expected {what}{_range_text(each)}"


def _wrong_secrets(value: Any) -> str | None:
    if not isinstance(value, Table):
        return 'expected a table like { openai = "env:OPENAI_API_KEY" }'
    for name, source in value.items():
        if not _SECRET_NAME.fullmatch(str(name)):
            return "a secret's name has letters, digits, dots, dashes and underscores"
        if not _SOURCE.fullmatch(str(source)):
            return f"{name}: expected env:VARIABLE, file:/absolute/path or keyring:SERVICE/USER"
    return None


def _wrong_endpoint(endpoints: tuple[str, ...]) -> str | None:
    for endpoint in endpoints:
        if endpoint.startswith("tcp://"):
            continue  # the daemon reads it, and tells what is wrong with it
        # A relative path depends on the folder of whoever reads it, and an abstract socket
        # (ipc://@name) has no folder that could keep other users out.
        if not endpoint.startswith(("ipc:///", "unix:///")) or endpoint.endswith("/"):
            return (
                "expected ipc:///run/agentd/sock or unix:///run/agentd/sock (an absolute path), or "
                "tcp://HOST:PORT"
            )
    return None


def ports_of(text: str) -> tuple[int, int] | None:
    """First and last of a range of ports that was checked; ``None``: there is none."""
    found = _PORTS.fullmatch(text)
    return None if found is None else (int(found[1]), int(found[2]))


def _wrong_ports(text: str) -> str | None:
    low, high = ports_of(text) or (0, 0)
    if text and not 1 <= low <= high <= 65_535:
        return "expected two ports, the lower one first, as 5600-5699"
    return None


def _wrong_specs(value: Any) -> str | None:
    if isinstance(value, Table):
        for name, target in value.items():
            module, colon, qualname = str(target).partition(":")
            parts = [str(name).replace("-", "_"), *module.split("."), *qualname.split(".")]
            if not (colon and all(part.isidentifier() for part in parts)):
                return f'{name}: expected a name, and "package.module:Class"'
        return None
    return 'expected a table like { counter = "shop.stock:Counter" }'


def _within(each: Field[Any], value: float) -> bool:
    low, above, high = (each.metadata[key] for key in ("low", "above", "high"))
    return (
        math.isfinite(value)
        and (low is None or value >= low)
        and (above is None or value > above)
        and (high is None or value <= high)
    )


def _range_text(each: Field[Any]) -> str:
    low, above, high = (each.metadata[key] for key in ("low", "above", "high"))
    start = f"more than {above:,}" if above is not None else f"from {low:,}"
    return f" {start} to {high:,}"
