"""The table of targets and measured figures."""

from __future__ import annotations

from loadtests.targets import as_table


def rows(results: dict[str, dict[str, object]]) -> dict[str, str]:
    lines = as_table(results).splitlines()[2:]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return {description: met for description, _, _, met in cells}


def test_figures_are_compared_with_their_bounds() -> None:
    memory = [{"rss": 900.0, "mapped_rss": 240.0, "mapped_pss": pss} for pss in (120.0, 240.0)]
    large_catalogue = {
        "recall@10": 0.992,
        "1 worker": {"p90_ms": 50.0, "memory_mb": memory[1:]},
        "2 workers": {"p90_ms": 50.1, "memory_mb": memory},
    }
    met = rows({"large_catalogue": {"summary": large_catalogue}, "baselines": {"summary": {"ratio": 0.59}}})
    assert met["event + top-10 to the empty FastAPI handler, requests/s"] == "NO"
    assert met["1M items, 500 requests/s, one worker: p90"] == "yes"
    assert met["1M items, 500 requests/s, two workers: p90"] == "NO"
    assert met["1M items: memory of the largest worker"] == "yes"
    # The second worker has a copy of the table.
    assert met["1M items: PSS to RSS of the item table in each of two workers"] == "NO"


def test_missing_measurement_is_reported_as_not_measured() -> None:
    met = rows({"baselines": {"summary": {"ratio": 0.7}}})
    assert met["event + top-10 to the empty FastAPI handler, requests/s"] == "yes"
    assert met["p99 at a steady 1,000 requests/s, two cores"] == "not measured"


def test_every_kind_of_error_counts() -> None:
    soak = {"errors": [{"503": 2}, {"unanswered": 1}], "last_to_first_p99": 1.0, "last_to_first_pss": 1.0}
    assert rows({"soak": {"summary": soak}})["30 minutes at 70 % of capacity: errors"] == "NO"
    assert rows({"soak": {"summary": soak | {"errors": []}}})["30 minutes at 70 % of capacity: errors"] == "yes"
