"""The settings as told to people: what each is for, and how it is written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Final

from agentd.config.checking import Table, kind
from agentd.config.reading import variable_of
from agentd.config.settings import ServerConfig

__all__ = ["Setting", "describe"]

_TYPE_NAMES: Final[Mapping[type, str]] = {
    tuple: "list of text",
    bool: "true or false",
    Table: "table of text",
    int: "whole number",
    float: "seconds",
    str: "text",
}


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting as told to people. ``default`` is written as in TOML."""

    key: str
    type: str
    default: str
    variable: str
    why: str


def describe() -> tuple[Setting, ...]:
    """Tell all settings, in the order in which the documentation shows them."""
    return tuple(
        Setting(
            f.name, _TYPE_NAMES[kind(f)], _as_toml(f.default), variable_of(f), f.metadata["why"]
        )
        for f in fields(ServerConfig)
    )


def _as_toml(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return "[" + ", ".join(_as_toml(item) for item in value) + "]"
    if isinstance(value, Table):
        return "{" + ", ".join(f"{k} = {_as_toml(v)}" for k, v in value.items()) + "}"
    return f'"{value}"' if isinstance(value, str) else str(value)
