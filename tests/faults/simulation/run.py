"""One seed, one course of events."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from random import Random

from tests.faults.simulation.client import Client
from tests.faults.simulation.engine import VERSIONS, HashEngine, SimulatedModels
from tests.faults.simulation.judge import Judge
from tests.faults.simulation.server import Faults, LogServer, StoreLink
from tests.faults.simulation.timeline import Process, Timeline
from tests.faults.simulation.worker import Worker
from tests.store.reference_store import ReferenceStore


@dataclass(frozen=True)
class Outcome:
    """What went wrong, how often what happened, and when it was over in simulated seconds."""

    wrong: list[str]
    counts: Counter[str]
    seconds: float


def simulate(seed: int, model: Callable[[int], ReferenceStore] = ReferenceStore) -> Outcome:
    """The outcome of a seed, always the same; `model` makes the store that keeps so many events."""
    with _errors_logged() as errors:
        simulation = _Simulation(Random(seed), model)
        simulation.run()
    return Outcome(simulation.judge.wrong + errors, simulation.judge.counts, simulation.timeline.now)


class _Simulation:
    def __init__(self, random: Random, model: Callable[[int], ReferenceStore]) -> None:
        self._random = random
        self.timeline = Timeline()
        self.judge = Judge(lambda: self.timeline.now)
        rate = random.choice([0.0, 0.02, 0.1])
        self._faults = Faults(rate, rate, rate, damage=random.choice([0.0, 0.05]))
        keep, lag = random.choice([4, 1000]), random.choice([0.0, 0.01])
        self._server = LogServer(self.timeline, random, model(keep), self.judge, lag)
        self._versions: tuple[str, ...] = VERSIONS[:1]
        self._seconds = random.choice([0.0, 0.003])
        self._every: list[Worker] = []
        self._workers = [self._worker() for _ in range(random.randint(1, 3))]
        self._users = ["ann", "bob", "eve"][: random.randint(1, 3)]
        self._clients = [self._client(f"c{number}") for number in range(random.randint(2, 4))]

    def run(self) -> None:
        world = Process(self.timeline)
        living = [client.process.create_task(client.live(self._random.randint(5, 12))) for client in self._clients]
        world.create_task(self._disturb(world))
        self.timeline.run()
        for task in living:
            if not task.done() or task.exception() is not None:
                self.judge.accuse(f"a client broke off: {task!r}")
        self._last_look()
        self.judge.finish()
        self.judge.wrong += self.timeline.faults
        damaged = sum(worker.meter.counts.get("snapshots_damaged", 0) for worker in self._every)
        if damaged > self.judge.counts["memos damaged"]:
            self.judge.accuse(f"memos were found damaged {damaged} times, and nobody had damaged so many")

    def _last_look(self) -> None:
        """After all is over, every worker answers for every user from what is stored."""
        for worker in self._workers:
            for user_id in self._users:
                looker = self._client("last", [worker])
                looker.process.create_task(looker._ask(user_id))
                self.timeline.run()

    def _worker(self) -> Worker:
        process = Process(self.timeline, lambda: self._random.random() * 0.01)
        store = StoreLink(self._server, process, self._random, self._faults, self.judge)
        worker = Worker(process, store, SimulatedModels(self._served()), self._random)
        self._every.append(worker)
        return worker

    def _served(self) -> tuple[HashEngine, ...]:
        return tuple(HashEngine(version, self._seconds) for version in self._versions)

    def _client(self, name: str, workers: list[Worker] | None = None) -> Client:
        process = Process(self.timeline)
        return Client(name, process, self._random, workers or self._workers, self.judge, self._users)

    async def _disturb(self, world: Process) -> None:
        """Kill, swap and fail over for a while; then no fault happens any more."""
        for _ in range(self._random.randint(0, 8)):
            await asyncio.sleep(self._random.random() * 0.03)
            disturbance = self._random.choice([self._kill, self._stop, self._swap, self._fail_over])
            disturbance(world)
        await asyncio.sleep(0.1)
        self._faults.stop()

    def _kill(self, world: Process) -> None:
        self.judge.count("workers killed")
        place = self._random.randrange(len(self._workers))
        killed = self._workers[place]
        killed.kill()

        def restart() -> None:
            if self._workers[place] is killed:
                self._workers[place] = self._worker()

        world.call_later(self._random.random() * 0.03, restart)

    def _stop(self, world: Process) -> None:
        """A worker does nothing for a while and knows nothing of it."""
        self.judge.count("workers stopped for a while")
        worker = self._random.choice(self._workers)
        worker.process.stopped_until = self.timeline.now + self._random.random() * 0.1

    def _swap(self, world: Process) -> None:
        """One model or two in a test; the workers follow one after the other."""
        self.judge.count("models swapped")
        self._versions = tuple(self._random.sample(VERSIONS, self._random.randint(1, 2)))
        for worker in self._workers:
            served = self._served()
            worker.process.call_later(self._random.random() * 0.01, setattr, worker.models, "served", served)

    def _fail_over(self, world: Process) -> None:
        self.judge.count("failovers")
        self._server.fail_over()


@contextmanager
def _errors_logged() -> Iterator[list[str]]:
    """What the service logs as its own fault; the rest, of which a simulation makes much, goes nowhere."""
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
