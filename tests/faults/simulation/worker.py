"""Simulated worker: the service's own parts on simulated time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from random import Random
from typing import Any

from service.core.recommending.batching import BatchedEngine, BatchedStore
from service.core.recommending.log_replay.snapshots import SnapshotWriter
from service.core.recommending.recommender import Recommender
from tests.core.fakes import CountingMeter, NullBatchMeter
from tests.faults.simulation.engine import SimulatedModels
from tests.faults.simulation.server import StoreLink
from tests.faults.simulation.timeline import Process


class ConnectionLost(Exception):
    """The worker is dead."""


class Worker:
    """Worker process. When it is killed, its callers get `ConnectionLost`."""

    def __init__(self, process: Process, store: StoreLink, models: SimulatedModels, random: Random) -> None:
        self.process = process
        self.models = models
        self.meter = CountingMeter()
        self._random = random
        self._callers: list[tuple[Process, asyncio.Future[Any]]] = []
        clock = process.time
        # The simulated event loop runs batches of the engine itself, so no thread is ever started.
        self.recommender = Recommender(
            store,
            BatchedStore(store, NullBatchMeter(), max_batch=4, max_queue=16, clock=clock),
            BatchedEngine(NullBatchMeter(), NullBatchMeter(), max_batch=4, max_queue=16, clock=clock),
            models,
            SnapshotWriter(store, max_queue=8, max_batch=3, delay_seconds=random.choice([0.0, 0.01])),
            self.meter,
            timeout_seconds=random.choice([0.02, 1.0]),
            clock=clock,
        )

    def call(self, caller: Process, operation: Callable[[Worker], Coroutine[Any, Any, Any]]) -> asyncio.Future[Any]:
        """Run `operation` in this worker, and return its result to `caller`.

        The result is an exception if `operation` raises one, or if the worker is dead (`ConnectionLost`).
        """
        reply = caller.create_future()
        if not self.process.alive:
            reply.set_exception(ConnectionLost())
            return reply
        self._callers.append((caller, reply))

        def arrive() -> None:
            self.process.create_task(operation(self)).add_done_callback(leave)

        def leave(task: asyncio.Task[Any]) -> None:
            caller.call_later(self._random.random() * 0.001, _resolve, reply, task.exception() or task.result())

        self.process.call_later(self._random.random() * 0.001, arrive)
        return reply

    def kill(self) -> None:
        self.process.kill()
        for caller, reply in self._callers:
            caller.call_later(self._random.random() * 0.001, _resolve, reply, ConnectionLost())


def _resolve(reply: asyncio.Future[Any], result: Any) -> None:
    if reply.done():
        return
    if isinstance(result, Exception):
        reply.set_exception(result)
    else:
        reply.set_result(result)
