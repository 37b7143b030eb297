"""The service beside LitServe and BentoML: same weights, clients, rates and machine, in turns."""

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

from loadtests.environment.processes import descendants
from loadtests.environment.servers import ROOT, Server, ServerFailed, free_port, http_server, recblr, redis_server
from loadtests.generator.experiment import Options, Target, closed_loop, open_loop
from loadtests.generator.http_client import Connection, Request, make_request
from loadtests.generator.workload import event_requests, history_requests
from loadtests.scenarios.baselines import capacity

# Named as in recompute.py, which needs torch and so is not imported here.
BUNDLE, PORT, THREADS, LENGTH = "LOADTEST_BUNDLE", "LOADTEST_PORT", "LOADTEST_TORCH_THREADS", 200


@contextmanager
def litserve(options: Options) -> Iterator[Server]:
    """LitServe on a free port."""
    port = free_port()
    command = [_python(options), "-m", "loadtests.peers.litserve_server"]
    with http_server("LitServe", command, _environment(options, port), port, "/health") as server:
        yield server


@contextmanager
def bentoml(options: Options) -> Iterator[Server]:
    """BentoML on a free port."""
    port = free_port()
    service = "loadtests.peers.bentoml_server:NextItems"
    listen = ["--host", "127.0.0.1", "--port", str(port)]
    command = [_python(options), "-m", "bentoml", "serve", service, *listen]
    with http_server("BentoML", command, _environment(options, port), port, "/readyz") as server:
        yield server


def peers(options: Options) -> dict[str, Any]:
    """Capacity in turns, and latencies at a rate that the slowest can bear."""
    runs: list[dict[str, Any]] = []
    with ExitStack() as stack:
        redis = stack.enter_context(redis_server(options.redis))
        service = stack.enter_context(recblr(redis, options.bundle, settings=options.service))
        targets = [
            Target.of("recblr", service, redis),
            Target.of("LitServe", stack.enter_context(litserve(options))),
            Target.of("BentoML", stack.enter_context(bentoml(options))),
        ]
        workloads = _workloads(options)
        difference = _same_answers(targets, options)
        for _ in range(options.rounds):
            for t in targets:
                with _alone(t, targets):
                    runs.append(closed_loop(t, workloads[t.name], options, options.seconds))
        rate = max(1, round(0.7 * min(capacity(runs, target.name) for target in targets)))
        common = replace(options, seconds=max(options.seconds, 10.0))
        for t in targets:
            with _alone(t, targets):
                runs.append(open_loop(t, workloads[t.name], common, rate))
    rates = {
        t.name: [r["achieved_per_s"] for r in runs if r["target"] == t.name and r["loop"] == "closed"]
        for t in targets
    }
    return {
        "runs": runs,
        "summary": {
            "capacity_per_s": {name: round(median(values), 1) for name, values in rates.items()},
            "ratio_to": {
                name: round(median(a / max(b, 1e-9) for a, b in zip(rates["recblr"], rates[name], strict=True)), 2)
                for name in ("LitServe", "BentoML")
            },
            "at_per_s": rate,
            "p99_ms": {run["target"]: run["latency_ms"]["p99"] for run in runs[-3:]},
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
                "lines": {run["target"]: run["distribution_ms"] for run in runs[-3:]},
            }
        ],
    }


@contextmanager
def _alone(target: Target, targets: Sequence[Target]) -> Iterator[None]:
    """Hold the other servers still: idle ones poll, which takes a sixth of a core from the one that is measured."""
    still = [pid for other in targets if other is not target for pid in descendants(other.server.pid)]
    for pid in still:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in still:
            os.kill(pid, signal.SIGCONT)


def _workloads(options: Options) -> dict[str, Sequence[Request]]:
    histories = history_requests(options.histories, 2_000, LENGTH, "/predict", options.seed)
    return {
        "recblr": event_requests(options.histories, 20_000, "peers", options.seed),
        "LitServe": histories,
        "BentoML": [_in_a_list(request) for request in histories],
    }


def _in_a_list(request: Request) -> Request:
    """BentoML's batches are lists of bodies, so that a client may send several."""
    body = json.loads(request.raw.partition(b"\r\n\r\n")[2])
    return make_request(request.kind, "POST", "/predict", {"asked": [body]})


def _same_answers(targets: Sequence[Target], options: Options) -> float:
    """The largest difference of scores between the service and a peer; raises if they are not one model."""
    items = list(dict.fromkeys(options.histories.of_user[0]))[:50]
    bodies = {
        "recblr": ("/v1/recommendations", {"history": items, "k": 10}),
        "LitServe": ("/predict", {"history": items}),
        "BentoML": ("/predict", {"asked": [{"history": items}]}),
    }
    scores = {}
    for target in targets:
        connection = Connection(target.server.port, keep_body=True)
        connection.socket.settimeout(30)
        path, body = bodies[target.name]
        status, content = connection.ask(make_request("check", "POST", path, body).raw)
        connection.close()
        if status != 200:
            raise ServerFailed(f"{target.name} answered {status}: {content[:500].decode(errors='replace')}")
        answer = json.loads(content)
        first = answer[0] if isinstance(answer, list) else answer
        scores[target.name] = [float(item["score"]) for item in first["items"]]
    worst = max(abs(a - b) for values in scores.values() for a, b in zip(scores["recblr"], values, strict=True))
    if worst > 1e-3:
        raise ServerFailed(f"the peers do not serve the same model: scores differ by {worst}")
    return worst


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
