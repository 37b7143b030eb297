"""Requests to the peers."""

from __future__ import annotations

import json
import sys

from loadtests.environment.servers import DEMO_BUNDLE, ROOT, RedisSettings
from loadtests.generator.experiment import Options
from loadtests.generator.workload import Histories
from loadtests.peers.compare import _environment, _workloads
from loadtests.peers.peer_settings import HISTORY_LENGTH

OPTIONS = Options(DEMO_BUNDLE, ["1"], Histories([["1", "2"], ["3"]]), RedisSettings(), peer_threads=2)


def test_peers_are_sent_the_same_whole_histories() -> None:
    workloads = _workloads(OPTIONS)
    for litserve, bentoml in zip(workloads["LitServe"], workloads["BentoML"], strict=True):
        history = json.loads(litserve.raw.partition(b"\r\n\r\n")[2])
        assert len(history["history"]) == HISTORY_LENGTH
        assert json.loads(bentoml.raw.partition(b"\r\n\r\n")[2]) == {"histories": [history]}
    assert all(b"/v1/events?k=10" in request.raw for request in workloads["recblr"])


def test_peers_run_in_their_own_python_with_the_bundle() -> None:
    environment = _environment(OPTIONS, 1234)
    assert environment["LOADTEST_PORT"] == "1234"
    assert environment["LOADTEST_BUNDLE"] == str(DEMO_BUNDLE)
    assert environment["LOADTEST_TORCH_THREADS"] == environment["OMP_NUM_THREADS"] == "2"
    assert environment["PYTHONPATH"] == str(ROOT)
    assert environment["PATH"].startswith(sys.executable.rpartition("/")[0])
