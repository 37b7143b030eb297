"""The service, with a probe of its event loop.

    LOOP_PROBE_FILE=FILE python -m loadtests.environment.probed_service [--callbacks]

Runs `python -m service` with one worker in this process. The file holds the longest time for which the event loop did
nothing else since a reader last reset it (`LoopProbe`).

It also notes the CPU time of the event loop during each event that asks for recommendations (`RequestProbe`).

By default a timer on the service's own event loop measures it, to within `TICK_SECONDS`. With `--callbacks` the
service runs on asyncio's event loop, each callback is measured by itself, and the file names the longest one.
"""

from __future__ import annotations

import asyncio
import mmap
import os
import struct
import sys
from collections.abc import Awaitable, Callable
from functools import partial
from importlib import import_module
from pathlib import Path
from time import perf_counter, thread_time
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

App = Callable[[Any, Any, Any], Awaitable[None]]

VARIABLE = "LOOP_PROBE_FILE"
_MAX_REQUESTS = 100_000
TICK_SECONDS = 0.002
_RECORD = struct.Struct("<dd200p")  # CPU seconds, wall seconds, name of the callback


def requests_file(path: Path) -> Path:
    """Return the file of the `RequestProbe` beside that of the `LoopProbe`."""
    return path.with_name(f"{path.name}.requests")


class LoopTime(NamedTuple):
    """Longest times for which the event loop did one thing.

    Attributes:
        cpu_ms: CPU time of the event loop's thread.
        wall_ms: Longest elapsed time, waits for a core and for the GIL included.
        callback: Name of the callback with the longest CPU time; "" if a timer measured.
    """

    cpu_ms: float
    wall_ms: float
    callback: str


class LoopProbe:
    """File between the probed service and its reader."""

    def __init__(self, path: Path) -> None:
        if not path.exists():
            path.write_bytes(bytes(_RECORD.size))
        with path.open("r+b") as file:
            self._memory = mmap.mmap(file.fileno(), _RECORD.size)

    def reset(self) -> None:
        """Forget what was measured."""
        _RECORD.pack_into(self._memory, 0, 0.0, 0.0, b"")

    def read(self) -> LoopTime:
        """Return the longest times since `reset`."""
        cpu, wall, name = _RECORD.unpack_from(self._memory)
        return LoopTime(round(cpu * 1e3, 2), round(wall * 1e3, 2), name.decode(errors="replace"))

    def record(self, cpu: float, wall: float, name: Callable[[], str] = str) -> None:
        """Keep the longest times.

        `name` is called for a new longest CPU time.
        """
        longest_cpu, longest_wall, longest = _RECORD.unpack_from(self._memory)
        if cpu > longest_cpu:
            longest_cpu, longest = cpu, name().encode()[:199]
        elif wall <= longest_wall:
            return
        _RECORD.pack_into(self._memory, 0, longest_cpu, max(longest_wall, wall), longest)


class RequestProbe:
    """File with the event loop's CPU seconds during each light request.

    They are what the server itself does while a client waits, without the waits for a core, other processes and the
    network. So they can be compared on a busy machine.
    """

    def __init__(self, path: Path) -> None:
        if not path.exists():
            path.write_bytes(bytes(8 * (1 + _MAX_REQUESTS)))
        self._values = np.memmap(path, np.float64, "r+")

    def reset(self) -> None:
        """Forget what was noted."""
        self._values[0] = 0

    def read(self) -> NDArray[np.float64]:
        """Return the CPU seconds during each request since `reset`."""
        return np.array(self._values[1 : 1 + int(self._values[0])])

    def record(self, cpu: float) -> None:
        """Note a request; beyond `_MAX_REQUESTS` none is noted."""
        count = int(self._values[0]) + 1
        if count <= _MAX_REQUESTS:
            self._values[count] = cpu
            self._values[0] = count


def measure_requests(app: App, probe: RequestProbe) -> App:
    """Measure light requests: events that ask for recommendations."""

    async def measured(scope: Any, receive: Any, send: Any) -> None:  # noqa: ANN401
        if scope["type"] != "http" or scope["path"] != "/v1/events" or not scope["query_string"]:
            await app(scope, receive, send)
            return
        began = thread_time()
        await app(scope, receive, send)
        probe.record(thread_time() - began)

    return measured


def measure_callbacks(probe: LoopProbe) -> None:
    """Measure every callback of asyncio's event loop."""
    run = asyncio.events.Handle._run

    def measured(handle: asyncio.Handle) -> None:
        cpu, wall = thread_time(), perf_counter()
        run(handle)
        probe.record(thread_time() - cpu, perf_counter() - wall, partial(_name, handle))

    asyncio.events.Handle._run = measured  # type: ignore[method-assign, assignment]


def _name(handle: asyncio.Handle) -> str:
    """Name the callback; for a task, where it waits next."""
    callback: Any = handle._callback  # type: ignore[attr-defined]
    task = getattr(callback, "__self__", None)
    if not isinstance(task, asyncio.Task):
        return str(getattr(callback, "__qualname__", type(callback).__name__))
    names: list[str] = []
    coroutine: Any = task.get_coro()
    while getattr(coroutine, "cr_code", None) is not None:
        names.append(f"{coroutine.cr_code.co_name}:{coroutine.cr_frame.f_lineno if coroutine.cr_frame else 'end'}")
        coroutine = coroutine.cr_await
    return " > ".join([*names[:1], *names[-3:]])


def measure_ticks(probe: LoopProbe) -> None:
    """Measure the time between ticks of a timer on the running loop."""
    loop = asyncio.get_running_loop()

    def tick(cpu: float, wall: float) -> None:
        now_cpu, now_wall = thread_time(), perf_counter()
        probe.record(now_cpu - cpu, now_wall - wall - TICK_SECONDS)
        loop.call_later(TICK_SECONDS, tick, now_cpu, now_wall)

    loop.call_later(TICK_SECONDS, tick, thread_time(), perf_counter())


def main() -> int:
    """Run the service; return its exit code."""
    command: Any = import_module("service.__main__")
    root: Any = import_module("service.main")

    path = Path(os.environ.pop(VARIABLE))
    probe, requests = LoopProbe(path), RequestProbe(requests_file(path))
    if "--callbacks" in sys.argv:
        sys.argv.remove("--callbacks")
        measure_callbacks(probe)
        command.uvicorn.run = partial(command.uvicorn.run, loop="asyncio")
    else:
        build = root.app_from_environment

        def build_probed() -> App:
            measure_ticks(probe)
            return measure_requests(build(), requests)

        root.app_from_environment = build_probed
    exit_code: int = command.main()
    return exit_code


if __name__ == "__main__":
    sys.exit(main())
