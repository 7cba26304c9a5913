"""What of agentd is compiled in wheels, as ``pyproject.toml`` says."""

import tomllib
from pathlib import Path

__all__ = ["HOOK", "ROOT"]

ROOT = Path(__file__).parents[1]
HOOK = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"][
    "wheel"
]["hooks"]["mypyc"]
