"""Test harness: workers on one store, with a fake model registry."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from itertools import count

import pytest

from service.core.errors import BundleRefusedError, ModelVersionNotFound, StoreUnavailable
from service.core.ports import Engine, ModelVersion
from service.core.rollout.desired_state import ROLLOUT_RECORD, DesiredState, decode_desired_state
from service.core.rollout.manager import RolloutManager
from service.core.rollout.rollout_steps import RolloutTimeouts
from tests.core.fakes import FakeEngine
from tests.core.memory_store import MemoryStore

_worker_names = (f"worker {n}" for n in count(1000))


class NoMeter:
    """Meter of a rollout that keeps nothing."""

    def served_versions(self, versions: Sequence[str]) -> None: ...


class FakeBundles:
    """Model registry in memory.

    Versions in `bad` fail their check. While `gate` is clear, loads wait: all, or those of the version `gated`.
    """

    def __init__(self, *versions: str) -> None:
        self.versions = list(versions)
        self.bad: set[str] = set()
        self.loads: list[str] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.gated: str | None = None
        self.revision = 0
        self._seen_revision = -1

    def publish(self, version: str) -> None:
        self.versions.append(version)
        self.revision += 1

    async def published(self) -> list[ModelVersion]:
        # The digits of a version serve as its time of creation.
        return sorted((ModelVersion(v, (v.zfill(5), v)) for v in self.versions), key=lambda version: version.order)

    async def changed(self) -> bool:
        before, self._seen_revision = self._seen_revision, self.revision
        return self._seen_revision != before

    async def load(self, version: str) -> Engine:
        self.loads.append(version)
        if self.gated in (None, version):
            await self.gate.wait()
        if version not in self.versions:
            raise ModelVersionNotFound(f"there is no version {version!r}")
        if version in self.bad:
            raise BundleRefusedError(f"{version} is damaged", for_log=f"/bundles/{version} is damaged")
        return FakeEngine(version)


class UnreliableStore(MemoryStore):
    """Store that loses replies and delays reads.

    It goes down right after it has written a rollout record for which `loses_reply_to` is true. The next read returns
    only once the event `delayed_read` is set.
    """

    def __init__(self) -> None:
        super().__init__()
        self.loses_reply_to: Callable[[DesiredState], bool] = lambda desired: False
        self.delayed_read: asyncio.Event | None = None

    async def records(self) -> dict[str, str]:
        records, delay = await super().records(), self.delayed_read
        if delay is not None:
            self.delayed_read = None
            await delay.wait()
        return records

    async def compare_and_set(self, name: str, expected: str | None, text: str | None) -> bool:
        written = await super().compare_and_set(name, expected, text)
        if (
            name == ROLLOUT_RECORD
            and (state := decode_desired_state(text)) is not None
            and self.loses_reply_to(state)
        ):
            self.down = True
            raise StoreUnavailable("the event log did not answer in time")
        return written


class FakeDeployment:
    """A store, and workers that start and stop."""

    def __init__(self) -> None:
        self.store = UnreliableStore()

    @asynccontextmanager
    async def worker(
        self,
        bundles: FakeBundles,
        *,
        watch: bool = False,
        load_seconds: float = 5.0,
        switch_seconds: float = 5.0,
        retry_seconds: float = 30.0,
        is_complete: Callable[[Engine], bool] = lambda engine: True,
    ) -> AsyncIterator[RolloutManager]:
        timeouts = RolloutTimeouts(load_seconds, switch_seconds, 0.1, retry_seconds)
        name, meter = next(_worker_names), NoMeter()
        models = RolloutManager(
            bundles, self.store, name, meter, watch=watch, timeouts=timeouts, is_complete=is_complete
        )
        await models.start()
        yield models
        await models.close()

    def kill(self, models: RolloutManager) -> None:
        """Stop a worker as `kill -9` does; its status record stays."""
        reconciler = models._reconciler
        for task in (reconciler._task._task, reconciler._engines._background_load):
            if task is not None:
                task.cancel()

    @property
    def desired(self) -> DesiredState:
        state = decode_desired_state(self.store.written[ROLLOUT_RECORD])
        assert state is not None
        return state


def run(scenario: Callable[[FakeDeployment], Awaitable[None]]) -> None:
    asyncio.run(asyncio.wait_for(scenario(FakeDeployment()), 60))  # type: ignore[arg-type]


async def until(condition: Callable[[], bool]) -> None:
    for _ in range(1000):
        if condition():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("the condition did not become true in 10 seconds")


def versions(*workers: RolloutManager) -> list[list[str]]:
    return [[engine.version for engine in worker.served] for worker in workers]


def logged(caplog: pytest.LogCaptureFixture) -> list[tuple[str, str]]:
    """The message and the field `reason` of each record."""
    return [(record.message, getattr(record, "reason", "")) for record in caplog.records]
