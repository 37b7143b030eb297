"""Benchmark of the access log: CPU per request with it and without.

    python -m loadtests.micro.request_cost.access_log_cost

Two applications on the same services answer reads of the fast path, 16 at a time, measured in alternation. They are
called without an HTTP server, so the ratio is above that of a running server. Prints JSON: CPU microseconds per
request of each, and the ratio; medians of the rounds.
"""

from __future__ import annotations

import asyncio
import json
import tempfile
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from loadtests.environment.servers import DEMO_BUNDLE
from loadtests.micro.interleaved import measure_interleaved
from loadtests.micro.request_cost.in_process_reads import already_open, figures_of, reads_of
from service.api.app import build_api
from service.api.user_tokens import UserTokens
from service.api_keys import parse_key
from service.key_file import KeyRing
from service.main import PAGES, open_services
from service.observability.access_log import AccessLog
from service.observability.metrics import PrometheusMeter
from service.settings import Settings

KEY = "key-of-the-access-log-benchmark"


def measure(min_seconds: float) -> dict[str, Any]:
    """Return the figures; each measurement takes at least this CPU time."""
    with tempfile.TemporaryDirectory() as folder, asyncio.Runner() as runner:
        settings = Settings(state_url=SecretStr(f"sqlite:///{folder}/log.db"), bundle=DEMO_BUNDLE)
        meter, keys, stack = PrometheusMeter(), KeyRing([parse_key(KEY)]), AsyncExitStack()
        services = runner.run(stack.enter_async_context(open_services(settings, meter)))
        calls = {}
        with (Path(folder) / "access.log").open("w", buffering=1) as file:
            for name, log in (("with", AccessLog(file.write)), ("without", None)):
                opened = already_open(services)
                app = build_api(opened, meter, PAGES, keys=keys, tokens=UserTokens(), access_log=log)
                app.state.services = services
                calls[name] = reads_of(runner, app, [(b"x-api-key", KEY.encode())])
            times = measure_interleaved(calls, min_seconds)
        runner.run(stack.aclose())
    return figures_of(times)


if __name__ == "__main__":
    print(json.dumps(measure(min_seconds=0.5)))
