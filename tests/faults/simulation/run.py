"""Run of the simulation from one seed."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from random import Random

from tests.faults.simulation.checker import Checker
from tests.faults.simulation.client import Client
from tests.faults.simulation.engine import VERSIONS, HashEngine, SimulatedModels
from tests.faults.simulation.server import Faults, LogServer, StoreLink
from tests.faults.simulation.timeline import Process, Timeline
from tests.faults.simulation.worker import Worker
from tests.store.reference_store import ReferenceStore


@dataclass(frozen=True)
class Outcome:
    """Violations, counts of occurrences, and duration in simulated seconds."""

    violations: list[str]
    counts: Counter[str]
    seconds: float


def simulate(seed: int, model: Callable[[int], ReferenceStore] = ReferenceStore) -> Outcome:
    """Return the outcome of a seed, which is always the same.

    Args:
        seed: the seed of all random choices.
        model: creates the store from the number of events to keep for each user.
    """
    with _errors_logged() as errors:
        simulation = _Simulation(Random(seed), model)
        simulation.run()
    return Outcome(simulation.checker.violations + errors, simulation.checker.counts, simulation.timeline.now)


class _Simulation:
    def __init__(self, random: Random, model: Callable[[int], ReferenceStore]) -> None:
        self._random = random
        self.timeline = Timeline()
        self.checker = Checker(lambda: self.timeline.now)
        rate = random.choice([0.0, 0.02, 0.1])
        self._faults = Faults(rate, rate, rate, damage=random.choice([0.0, 0.05]))
        keep, lag = random.choice([4, 1000]), random.choice([0.0, 0.01])
        self._server = LogServer(self.timeline, random, model(keep), self.checker, lag)
        self._versions: tuple[str, ...] = VERSIONS[:1]
        self._engine_seconds = random.choice([0.0, 0.003])
        self._all_workers: list[Worker] = []
        self._workers = [self._worker() for _ in range(random.randint(1, 3))]
        self._users = ["ann", "bob", "eve"][: random.randint(1, 3)]
        self._clients = [self._client(f"c{number}") for number in range(random.randint(2, 4))]

    def run(self) -> None:
        world = Process(self.timeline)
        client_tasks = [
            client.process.create_task(client.run(self._random.randint(5, 12))) for client in self._clients
        ]
        world.create_task(self._inject_faults(world))
        self.timeline.run()
        for task in client_tasks:
            if not task.done() or task.exception() is not None:
                self.checker.report_violation(f"a client did not end: {task!r}")
        self._request_everything()
        self.checker.finish()
        self.checker.violations += self.timeline.faults
        damaged = sum(worker.meter.counts.get("snapshots_damaged", 0) for worker in self._all_workers)
        if damaged > self.checker.counts["snapshots damaged"]:
            self.checker.report_violation(f"damaged snapshots were found {damaged} times, more than were damaged")

    def _request_everything(self) -> None:
        """Let every worker answer every user once all faults are over."""
        for worker in self._workers:
            for user_id in self._users:
                client = self._client("final", [worker])
                client.process.create_task(client._recommend(user_id))
                self.timeline.run()

    def _worker(self) -> Worker:
        process = Process(self.timeline, lambda: self._random.random() * 0.01)
        store = StoreLink(self._server, process, self._random, self._faults, self.checker)
        worker = Worker(process, store, SimulatedModels(self._served()), self._random)
        self._all_workers.append(worker)
        return worker

    def _served(self) -> tuple[HashEngine, ...]:
        return tuple(HashEngine(version, self._engine_seconds) for version in self._versions)

    def _client(self, name: str, workers: list[Worker] | None = None) -> Client:
        process = Process(self.timeline)
        return Client(name, process, self._random, workers or self._workers, self.checker, self._users)

    async def _inject_faults(self, world: Process) -> None:
        """Inject random faults for a while, and none after that."""
        for _ in range(self._random.randint(0, 8)):
            await asyncio.sleep(self._random.random() * 0.03)
            fault = self._random.choice([self._kill, self._pause, self._switch_models, self._fail_over])
            fault(world)
        await asyncio.sleep(0.1)
        self._faults.stop()

    def _kill(self, world: Process) -> None:
        self.checker.count("workers killed")
        index = self._random.randrange(len(self._workers))
        killed = self._workers[index]
        killed.kill()

        def restart() -> None:
            if self._workers[index] is killed:
                self._workers[index] = self._worker()

        world.call_later(self._random.random() * 0.03, restart)

    def _pause(self, world: Process) -> None:
        """Pause a worker, which does not notice it."""
        self.checker.count("workers paused")
        worker = self._random.choice(self._workers)
        worker.process.paused_until = self.timeline.now + self._random.random() * 0.1

    def _switch_models(self, world: Process) -> None:
        """Serve one or two other models; the workers switch one by one."""
        self.checker.count("models switched")
        self._versions = tuple(self._random.sample(VERSIONS, self._random.randint(1, 2)))
        for worker in self._workers:
            served = self._served()
            worker.process.call_later(self._random.random() * 0.01, setattr, worker.models, "served", served)

    def _fail_over(self, world: Process) -> None:
        self.checker.count("failovers")
        self._server.fail_over()


@contextmanager
def _errors_logged() -> Iterator[list[str]]:
    """Collect the errors that the service logs, and drop its warnings."""
    found: list[str] = []

    class Collect(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            found.append(f"logged: {record.getMessage()}: {record.exc_info and record.exc_info[1]!r}")

    log, handler = logging.getLogger("service"), Collect(logging.ERROR)
    before = log.level, log.propagate
    log.addHandler(handler)
    log.setLevel(logging.ERROR)
    log.propagate = False
    try:
        yield found
    finally:
        log.removeHandler(handler)
        log.level, log.propagate = before
