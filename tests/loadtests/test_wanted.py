"""The table of what was wanted and what was found."""

from __future__ import annotations

from loadtests.targets import as_table


def rows(results: dict[str, dict[str, object]]) -> dict[str, str]:
    lines = as_table(results).splitlines()[2:]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return {what: comparison for what, _, _, comparison in cells}


def test_a_figure_is_held_to_its_bound_and_one_that_is_not_there_is_not_measured() -> None:
    memory = [{"rss": 900.0, "mapped_rss": 240.0, "mapped_pss": pss} for pss in (120.0, 240.0)]
    million = {
        "recall@10": 0.992,
        "1 worker": {"p90_ms": 50.0, "memory_mb": memory[1:]},
        "2 workers": {"p90_ms": 50.1, "memory_mb": memory},
    }
    found = rows({"million": {"summary": million}, "floors": {"summary": {"ratio": 0.59}}})
    assert found["event + top-10 to the empty FastAPI handler, requests/s"] == "NO"
    assert found["1M items, 500 requests/s, one worker: p90"] == "yes"
    assert found["the same, two workers"] == "NO"
    assert found["the largest worker's memory there"] == "yes"
    assert found["share of the item table that each of two workers is charged with"] == "NO"  # one has a copy
    assert found["p99 at a steady 1,000 requests/s, two cores"] == "not measured"


def test_errors_count_whatever_they_are() -> None:
    soak = {"errors": [{"503": 2}, {"unanswered": 1}], "last_to_first_p99": 1.0, "last_to_first_pss": 1.0}
    assert rows({"soak": {"summary": soak}})["30 minutes at 70 % of capacity: errors"] == "NO"
    assert rows({"soak": {"summary": soak | {"errors": []}}})["30 minutes at 70 % of capacity: errors"] == "yes"
