"""A measurement's dictionary, its JSON file and its page; the workloads; the random catalogues."""

from __future__ import annotations

import json
import os
from pathlib import Path
from xml.etree import ElementTree

import numpy as np

from loadtests.environment.servers import RedisSettings, Server
from loadtests.environment.synthetic_catalogue import write_catalogue
from loadtests.generator.experiment import Options, Target, closed_loop, open_loop
from loadtests.generator.http_client import SERIAL
from loadtests.generator.workload import MIX, Histories, event_requests, mixed_requests, zipf_histories
from loadtests.load_charts import line_chart
from loadtests.load_report import write_results
from model.bundle.bundle import load_bundle
from tests.loadtests.tiny_server import TinyServer

DEMO = Path(__file__).parents[2] / "bundles" / "ml-1m-demo"
HISTORIES = Histories([["1", "2", "3"], ["4", "5"]])


def test_a_run_becomes_json_and_a_page_that_needs_nothing_else(tmp_path: Path) -> None:
    options = Options(DEMO, ["1"], HISTORIES, RedisSettings(), seconds=0.3, warmup=0.1, connections=4, saturating=2)
    with TinyServer() as server:
        target = Target.of("tiny", Server(server.port, os.getpid()))
        requests = event_requests(HISTORIES, 10, "run", 1)
        runs = [open_loop(target, requests, options, 200), closed_loop(target, requests, options, 0.3)]
    result = {"scenario": "a <b>", "command": "c", "summary": {"x": 1}, "conditions": {}, "runs": runs, "charts": []}
    as_json, as_html = write_results(tmp_path, "run", result)
    read = json.loads(as_json.read_text())["runs"][0]
    assert list(read["latency_ms"]) == ["p50", "p90", "p99", "p99.9", "max"]
    assert read["asked_per_s"] == 200
    assert read["errors"] == {}
    assert set(read["cpu_us_per_request"]) == {"server", "client"}
    assert "others" in read["cpu_s"]
    page = as_html.read_text()
    assert "a &lt;b&gt;" in page
    assert "<svg" in page
    assert "<script" not in page
    assert "http:" not in page
    assert "src=" not in page


def test_a_chart_is_well_formed_and_shows_every_line() -> None:
    lines = {"a < b": [(1, 0.5), (1000, 20)], "c": [(1, 3.0), (1000, 20.1)], "empty": []}
    svg = ElementTree.fromstring(line_chart(lines, "x & y", "ms", log=True, log_x=True))
    assert [element.tag for element in svg].count("polyline") == 2
    texts = [element.text for element in svg if element.tag == "text"]
    assert {"a < b", "c", "x & y", "ms"} <= set(texts)
    assert "nothing to plot" in line_chart({}, "x", "y")


def test_mixed_traffic_has_its_shares_and_never_repeats_an_id() -> None:
    histories = zipf_histories([str(n) for n in range(500)], 300, 1)
    requests = mixed_requests(histories, 4000, "run", 1)
    for kind, share in MIX.items():
        count = sum(request.kind == kind for request in requests)
        assert abs(count / 4000 - share) < 0.03, kind
    for request in requests:
        assert request.numbered == (SERIAL in request.raw)
        head, _, body = request.numbered_with(7).partition(b"\r\n\r\n")
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
    assert len(histories.of_user[histories.heavy()[0]]) == max(lengths)


def test_a_random_catalogue_is_a_bundle_with_the_norms_of_the_trained_one(tmp_path: Path) -> None:
    ids = write_catalogue(tmp_path / "bundle", DEMO, 5000, 1)
    bundle, trained = load_bundle(tmp_path / "bundle"), load_bundle(DEMO)
    assert [item.item_id for item in bundle.items] == ids
    name = "item_embedding.weight"
    assert (bundle.weights[name][0] == trained.weights[name][0]).all()
    norms = [np.linalg.norm(weights[name][1:], axis=1) for weights in (bundle.weights, trained.weights)]
    assert abs(np.median(norms[0]) / np.median(norms[1]) - 1) < 0.15
