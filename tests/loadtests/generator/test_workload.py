"""Workloads."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from loadtests.generator.http_client import SERIAL
from loadtests.generator.workload import (
    MIX,
    Histories,
    event_requests,
    history_requests,
    mixed_requests,
    read_histories,
    zipf_histories,
)


def test_mixed_traffic_has_the_fractions_of_the_mix() -> None:
    histories = zipf_histories([str(n) for n in range(500)], 300, 1)
    requests = mixed_requests(histories, 4000, "run", 1)
    for kind, fraction in MIX.items():
        count = sum(request.kind == kind for request in requests)
        assert abs(count / 4000 - fraction) < 0.03, kind


def test_prepared_requests_are_valid_with_and_without_serial() -> None:
    histories = zipf_histories([str(n) for n in range(500)], 300, 1)
    for request in mixed_requests(histories, 400, "run", 1):
        assert request.has_serial == (SERIAL in request.raw)
        head, _, body = request.with_serial(7).partition(b"\r\n\r\n")
        assert b"content-length: %d\r\n" % len(body) in head + b"\r\n" or not body
        if body:
            json.loads(body)


def test_zipf_histories_have_popular_items_and_long_tails() -> None:
    histories = zipf_histories([str(n) for n in range(1000)], 500, 1)
    lengths = [len(items) for items in histories.of_user]
    assert min(lengths) >= 20
    assert max(lengths) <= 500
    counts = sorted(np.unique([item for items in histories.of_user for item in items], return_counts=True)[1])
    assert counts[-1] > 20 * counts[len(counts) // 2]
    assert len(histories.of_user[histories.heavy_users()[0]]) == max(lengths)


def test_unknown_items_are_left_out_of_histories(tmp_path: Path) -> None:
    path = tmp_path / "histories.txt"
    path.write_text("ann 1 2 9\nbob 9\ncid 2\n")
    assert read_histories(path, ["1", "2"]).of_user == [["1", "2"], ["2"]]


def test_events_follow_the_order_of_the_history() -> None:
    histories = Histories([["1", "2", "3"]])
    bodies = [json.loads(request.raw.partition(b"\r\n\r\n")[2]) for request in event_requests(histories, 4, "run", 1)]
    assert [body["item_id"] for body in bodies] == ["1", "2", "3", "1"]
    assert {body["user_id"] for body in bodies} == {"run-0"}


def test_stateless_requests_repeat_short_histories_to_the_length() -> None:
    requests = history_requests(Histories([["1", "2", "3"]]), 2, 5, "/predict", 1)
    bodies = [json.loads(request.raw.partition(b"\r\n\r\n")[2]) for request in requests]
    assert [body["history"] for body in bodies] == [["1", "2", "3", "1", "2"], ["2", "3", "1", "2", "3"]]
