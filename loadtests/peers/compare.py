"""The service beside LitServe and BentoML, with the same weights."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

from loadtests.environment.processes import free_port, process_tree
from loadtests.environment.servers import ROOT, ServerError, http_server
from loadtests.generator.experiment import (
    PREPARED_REQUESTS,
    Options,
    Run,
    ServerUnderTest,
    capacity,
    closed_loop_rates,
    measure_closed_loop,
    measure_open_loop,
    service_under_test,
)
from loadtests.generator.http_client import Request, make_request, request_json
from loadtests.generator.workload import event_requests, history_requests
from loadtests.peers.peer_settings import BUNDLE, HISTORY_LENGTH, PORT, THREADS

MAX_SCORE_DIFFERENCE = 1e-3
MIN_STEADY_SECONDS = 10.0


@contextmanager
def litserve(options: Options) -> Iterator[ServerUnderTest]:
    """Run LitServe on a free port."""
    port = free_port()
    command = [_python(options), "-m", "loadtests.peers.litserve_server"]
    with http_server("LitServe", command, _environment(options, port), port, "/health") as server:
        yield ServerUnderTest("LitServe", server)


@contextmanager
def bentoml(options: Options) -> Iterator[ServerUnderTest]:
    """Run BentoML on a free port."""
    port = free_port()
    service = "loadtests.peers.bentoml_server:NextItems"
    command = [_python(options), "-m", "bentoml", "serve", service, "--host", "127.0.0.1", "--port", str(port)]
    with http_server("BentoML", command, _environment(options, port), port, "/readyz") as server:
        yield ServerUnderTest("BentoML", server)


def peers(options: Options) -> dict[str, Any]:
    """Measure capacity in alternation, then latency at a common rate.

    The rate is 70 % of the lowest capacity.
    """
    runs: list[Run] = []
    with ExitStack() as stack:
        servers = [
            stack.enter_context(service_under_test(options)),
            stack.enter_context(litserve(options)),
            stack.enter_context(bentoml(options)),
        ]
        workloads = _workloads(options)
        difference = _largest_score_difference(servers, options)
        for _ in range(options.rounds):
            for tested in servers:
                with _others_stopped(tested, servers):
                    runs.append(measure_closed_loop(tested, workloads[tested.name], options, options.seconds))
        rate = max(1, round(0.7 * min(capacity(runs, tested.name) for tested in servers)))
        longer = replace(options, seconds=max(options.seconds, MIN_STEADY_SECONDS))
        steady = []
        for tested in servers:
            with _others_stopped(tested, servers):
                steady.append(measure_open_loop(tested, workloads[tested.name], longer, rate))
    rates = {tested.name: closed_loop_rates(runs, tested.name) for tested in servers}
    return {
        "runs": [*runs, *steady],
        "summary": {
            "capacity_per_s": {name: capacity(runs, name) for name in rates},
            "ratio_to": {
                name: round(median(a / max(b, 1e-9) for a, b in zip(rates["recblr"], rates[name], strict=True)), 2)
                for name in ("LitServe", "BentoML")
            },
            "at_per_s": rate,
            "p99_ms": {run["server"]: run["latency_ms"]["p99"] for run in steady},
            "largest_score_difference": difference,
            "torch_threads": options.peer_threads,
            "rounds": options.rounds,
        },
        "charts": [
            {
                "title": f"Latency at {rate} requests/s, from when a request was due",
                "x": "percentile",
                "y": "ms",
                "log": True,
                "lines": {run["server"]: run["distribution_ms"] for run in steady},
            }
        ],
    }


@contextmanager
def _others_stopped(tested: ServerUnderTest, servers: Sequence[ServerUnderTest]) -> Iterator[None]:
    """Stop the other servers' processes by SIGSTOP.

    Idle peers poll, which would take a sixth of a core from the server under test.
    """
    stopped = [pid for other in servers if other is not tested for pid in process_tree(other.server.pid)]
    for pid in stopped:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in stopped:
            os.kill(pid, signal.SIGCONT)


def _workloads(options: Options) -> dict[str, Sequence[Request]]:
    histories = history_requests(options.histories, 2_000, HISTORY_LENGTH, "/predict", options.seed)
    return {
        "recblr": event_requests(options.histories, PREPARED_REQUESTS, "peers", options.seed),
        "LitServe": histories,
        "BentoML": [_as_bentoml_request(request) for request in histories],
    }


def _as_bentoml_request(request: Request) -> Request:
    """Wrap the body into a list: BentoML's batches are lists."""
    body = json.loads(request.raw.partition(b"\r\n\r\n")[2])
    return make_request(request.kind, "POST", "/predict", {"histories": [body]})


def _largest_score_difference(servers: Sequence[ServerUnderTest], options: Options) -> float:
    """Return the largest difference between the service's scores and a peer's.

    Raises:
        ServerError: the difference is too large for servers of the same model.
    """
    items = list(dict.fromkeys(options.histories.of_user[0]))[:50]
    requests = {
        "recblr": ("/v1/recommendations", {"history": items, "k": 10}),
        "LitServe": ("/predict", {"history": items}),
        "BentoML": ("/predict", {"histories": [{"history": items}]}),
    }
    scores = {}
    for tested in servers:
        path, body = requests[tested.name]
        answer = request_json(tested.server.port, "POST", path, body, timeout_seconds=30)
        first = answer[0] if isinstance(answer, list) else answer
        scores[tested.name] = [float(item["score"]) for item in first["items"]]
    largest = max(abs(a - b) for values in scores.values() for a, b in zip(scores["recblr"], values, strict=True))
    if largest > MAX_SCORE_DIFFERENCE:
        raise ServerError(f"the peers do not serve the same model: largest score difference={largest}")
    return largest


def _python(options: Options) -> str:
    return options.peers_python or sys.executable


def _environment(options: Options, port: int) -> dict[str, str]:
    python = Path(_python(options)).parent
    return {
        BUNDLE: str(options.bundle),
        PORT: str(port),
        THREADS: str(options.peer_threads),
        "OMP_NUM_THREADS": str(options.peer_threads),
        "PYTHONPATH": str(ROOT),
        "PATH": f"{python}:/usr/local/bin:/usr/bin:/bin",
        "DO_NOT_TRACK": "1",
        "BENTOML_DO_NOT_TRACK": "true",
    }
