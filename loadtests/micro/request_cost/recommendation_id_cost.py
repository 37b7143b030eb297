"""Benchmark of recommendation ids: CPU per request with them and without.

    python -m loadtests.micro.request_cost.recommendation_id_cost

Two services answer reads of the fast path, 16 at a time, measured in alternation; one has a key for ids. They are
called without an HTTP server, so the ratio is above that of a running server. Prints JSON: CPU microseconds per
request of each, and the ratio; medians of the rounds.
"""

from __future__ import annotations

import asyncio
import json
import tempfile
from contextlib import AsyncExitStack
from typing import Any

from pydantic import SecretStr

from loadtests.environment.servers import DEMO_BUNDLE
from loadtests.micro.interleaved import measure_interleaved
from loadtests.micro.request_cost.in_process_reads import already_open, figures_of, read_once, reads_of
from service.api.app import build_api
from service.api.user_tokens import UserTokens
from service.key_file import KeyRing
from service.main import PAGES, open_services
from service.observability.metrics import PrometheusMeter
from service.settings import Settings


def measure(min_seconds: float) -> dict[str, Any]:
    """Return the figures; each measurement takes at least this CPU time."""
    with tempfile.TemporaryDirectory() as folder, asyncio.Runner() as runner:
        stack, calls = AsyncExitStack(), {}
        for name, keys in (("with", (SecretStr("k" * 32),)), ("without", ())):
            url, meter = SecretStr(f"sqlite:///{folder}/{name}.db"), PrometheusMeter()
            settings = Settings(state_url=url, bundle=DEMO_BUNDLE, id_keys=keys)
            services = runner.run(stack.enter_async_context(open_services(settings, meter)))
            app = build_api(already_open(services), meter, PAGES, keys=KeyRing(), tokens=UserTokens())
            app.state.services = services
            if ("recommendation_id" in json.loads(runner.run(read_once(app)))) != bool(keys):
                raise SystemExit("an answer has an id where it should not, or has none")
            calls[name] = reads_of(runner, app)
        times = measure_interleaved(calls, min_seconds)
        runner.run(stack.aclose())
    return figures_of(times)


if __name__ == "__main__":
    print(json.dumps(measure(min_seconds=1.0)))
