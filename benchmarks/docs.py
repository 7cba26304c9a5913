"""Puts results into the page, between its marks; the words around them are written by hand."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from benchmarks import table
from benchmarks.results import Results

__all__ = ["figures", "peers", "put", "update"]

PEER_COLUMNS: tuple[tuple[str, str, str, int], ...] = (
    ("sync_latency", "p50_us", "call p50, µs", 0),
    ("sync_latency", "p99_us", "call p99, µs", 0),
    ("pipelined", "calls_per_s", "pipelined, /s", 0),
    ("create_rate", "agents_per_s", "create, /s", 0),
    ("memory", "pss_kib_per_agent", "agent, KiB", 1),
    ("memory", "server_pss_mib", "server, MiB", 0),
    ("payload", "1KiB_MBps", "1 KiB, MB/s", 1),
    ("payload", "1MiB_MBps", "1 MiB, MB/s", 0),
    ("payload", "16MiB_MBps", "16 MiB, MB/s", 0),
    ("payload", "64MiB_MBps", "64 MiB, MB/s", 0),
    ("payload", "64MiB_numpy_MBps", "64 MiB array, MB/s", 0),
    ("cold_start", "first_result_s", "cold start, s", 2),
    ("cold_start", "clean_exit_s", "to its end, s", 2),
    ("concurrency", "wall_s", "1,000 naps, s", 2),
    ("cpu_parallel", "speedup", "CPU ×", 2),
)
"""Workload, metric, heading, digits: as the harness that runs the peers names them."""


def update(page: Path, run: Path | None, harness: Path | None) -> None:
    """Rewrite the sections for which there are results."""
    text = page.read_text(encoding="utf-8")
    if run is not None:
        text = put(text, "figures", figures(Results.read(run)))
    if harness is not None:
        text = put(text, "peers", peers(json.loads(harness.read_text(encoding="utf-8"))))
    page.write_text(text, encoding="utf-8")


def put(text: str, mark: str, content: str) -> str:
    """Replace what stands between ``<!-- mark -->`` and ``<!-- /mark -->``."""
    begin, end = f"<!-- {mark} -->", f"<!-- /{mark} -->"
    if text.count(begin) != 1 or text.count(end) != 1:
        raise ValueError(f"the page has no place for {mark}: {begin} … {end}")
    before, rest = text.split(begin)
    after = rest.split(end)[1]
    return f"{before}{begin}\n\n{content.strip()}\n\n{end}{after}"


def figures(results: Results) -> str:
    """Our own run: machine, date, table."""
    machine = results.machine
    met, judged = table.met(results)
    about = (
        f"{machine['cpu']}, {machine['cores']} cores, {machine['memory_gib']:g} GiB; "
        f"Linux {machine['kernel']}, Python {machine['python']}, pyzmq {machine['pyzmq']} "
        f"(libzmq {machine['libzmq']}). Measured on {results.date[:10]} at revision "
        f"{results.what}, {results.passes} passes, {results.tier} counts: median "
        "(least..most)."
    )
    probes = results.probes_ms
    if probes:
        about += (
            f" A fixed piece of Python took {min(probes):g} to {max(probes):g} ms before the "
            "passes: how even the machine's speed was."
        )
    rows = [tuple(line) for line in table.lines(results)]
    return f"{about}\n\n{table.markdown(table.HEAD, rows)}\n\n{met} of {judged} goals are met."


def peers(found: dict[str, Any]) -> str:
    """The run of all systems by the same harness, and what each of them does differently."""
    systems = found["systems"]
    head = ("system", *(heading for _w, _m, heading, _d in PEER_COLUMNS))
    rows = [
        (name, *(_cell(system, w, m, digits) for w, m, _h, digits in PEER_COLUMNS))
        for name, system in systems.items()
    ]
    machine, plan = found["machine"], found["plan"]
    about = (
        f"Measured on {found['started'][:10]}, {machine['cores']} cores, {machine['system']}, "
        f"{plan['passes']} passes: median (least..most)."
    )
    notes = "\n".join(_notes(name, system) for name, system in systems.items())
    return f"{about}\n\n{table.markdown(head, rows)}\n\nWhat each does differently:\n\n{notes}"


def _cell(system: dict[str, Any], workload: str, metric: str, digits: int) -> str:
    value = system["workloads"].get(workload, {}).get(metric)
    if value is None:
        failed = any(e["workload"] in (workload, "all") for e in system["errors"])
        return "failed" if failed else "-"
    return table.span(value["rounds"], digits)


def _notes(name: str, system: dict[str, Any]) -> str:
    versions = ", ".join(f"{k} {v}" for k, v in system.get("versions", {}).items())
    said = [f"pipelined with {system.get('pipeline', '?')}", *system.get("notes", ())]
    failed = sorted({_plain(error["error"]) for error in system["errors"]})
    said += [f"failed: {error}" for error in failed]
    return f"- **{name}** ({versions}): " + "; ".join(said) + "."


def _plain(error: str) -> str:
    """The start of a message, without what would be markup."""
    return re.sub(r"[<>|`]", "", error)[:120]
