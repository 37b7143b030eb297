"""Interleaved measurement of CPU time."""

from __future__ import annotations

from loadtests.micro.interleaved import ROUNDS, Measured, measure_interleaved


def test_slower_call_takes_more_time_and_absent_calls_are_left_out() -> None:
    calls = {
        "fast": Measured(lambda: sum(range(1_000)), 1),
        "slow": Measured(lambda: sum(range(20_000)), 1),
        "slow for 20": Measured(lambda: sum(range(20_000)), 20),
        "absent": Measured(None, 1),
    }
    times = measure_interleaved(calls, min_seconds=0.002)
    assert list(times) == ["fast", "slow", "slow for 20"]
    assert all(len(values) == ROUNDS for values in times.values())
    assert min(times["slow"]) > 5 * min(times["fast"])
    assert min(times["slow"]) > 5 * min(times["slow for 20"])


def test_calls_alternate_in_each_round() -> None:
    order: list[str] = []
    calls = {name: Measured(lambda name=name: order.append(name), 1) for name in ("a", "b")}  # type: ignore[misc]
    measure_interleaved(calls, min_seconds=1e-9)
    assert order == ["a", "a", "b", "b", *["a", "b"] * ROUNDS]
