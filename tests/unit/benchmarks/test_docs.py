import pytest

from benchmarks import docs
from benchmarks.revision import ROOT

PAGE = "before\n<!-- figures -->\nold\n<!-- /figures -->\nafter\n"
HARNESS = {
    "started": "2026-01-02T03:04:05",
    "machine": {"cores": 2, "system": "Linux"},
    "plan": {"passes": 3},
    "systems": {
        "other": {
            "workloads": {"sync_latency": {"p50_us": {"rounds": [10.0, 30.0, 20.0]}}},
            "errors": [{"workload": "payload", "error": "<X: too | large>"}],
            "versions": {"other": "1.0"},
            "pipeline": "threads",
            "notes": ["one process per agent"],
        }
    },
}


def test_only_what_is_between_the_marks_is_replaced():
    assert docs.put(PAGE, "figures", "new\n") == (
        "before\n<!-- figures -->\n\nnew\n\n<!-- /figures -->\nafter\n"
    )


@pytest.mark.parametrize("page", ["", "<!-- figures -->", PAGE + PAGE])
def test_a_page_without_its_place_is_refused(page):
    with pytest.raises(ValueError, match="no place for figures"):
        docs.put(page, "figures", "new")


def test_our_figures_come_with_machine_date_and_revision(results, add):
    add("naps", "agentd", 0, wall_s=0.25)
    text = docs.figures(results)
    for said in ("Some CPU, 2 cores", "2026-01-02", "abc123", "20 to 25 ms", "1 of 1 goals"):
        assert said in text
    assert "| 1,000 calls that sleep 0.2 s | s | 0.250 |" in text


def test_peers_come_with_what_they_do_differently():
    text = docs.peers(HARNESS)
    assert "| other | 20 (10..30) | - |" in text
    assert "| failed |" in text
    assert (
        "- **other** (other 1.0): pipelined with threads; one process per agent; failed: X: too"
        in (text)
    )


def test_the_page_has_its_places():
    page = (ROOT / "docs" / "benchmarks.md").read_text(encoding="utf-8")
    for mark in ("figures", "peers"):
        docs.put(page, mark, "new")
