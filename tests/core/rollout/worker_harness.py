"""Workers that exchange models: a store that they share, and bundles that are published as a test wants."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from itertools import count

from service.core.errors import ModelVersionNotFound, StoreUnavailable
from service.core.ports import BundleRefusedError, Engine, ModelVersion
from service.core.rollout.desired_state import ROLLOUT_RECORD, Rollout, decode_rollout
from service.core.rollout.exchange import RolloutTimeouts
from service.core.rollout.manager import RolloutManager
from tests.core.fakes import FakeEngine, MemoryStore

_names = (f"worker {n}" for n in count(1000))


class FakeBundles:
    """Versions in order of publication; `bad` ones fail their check, and `gate` holds loads up (of `gated`)."""

    def __init__(self, *versions: str) -> None:
        self.versions = list(versions)
        self.bad: set[str] = set()
        self.loads: list[str] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.gated: str | None = None
        self.stamp = 0
        self._asked = -1

    def publish(self, version: str) -> None:
        self.versions.append(version)
        self.stamp += 1

    async def published(self) -> list[ModelVersion]:
        # A version's own digits stand for the time of its creation.
        return sorted((ModelVersion(v, (v.zfill(5), v)) for v in self.versions), key=lambda each: each.order)

    async def changed(self) -> bool:
        before, self._asked = self._asked, self.stamp
        return self._asked != before

    async def load(self, version: str) -> Engine:
        self.loads.append(version)
        if self.gated in (None, version):
            await self.gate.wait()
        if version not in self.versions:
            raise ModelVersionNotFound(f"there is no version {version!r}")
        if version in self.bad:
            raise BundleRefusedError(f"{version} is damaged", for_log=f"/bundles/{version} is damaged")
        return FakeEngine(version)


class UnsureStore(MemoryStore):
    """Goes away right after a write of the models' note, whose answer is lost, where `lose` says so of its text.

    While `held` is set, what is read comes late: once that is, too.
    """

    def __init__(self) -> None:
        super().__init__()
        self.lose: Callable[[Rollout], bool] = lambda rollout: False
        self.held: asyncio.Event | None = None

    async def records(self) -> dict[str, str]:
        found, held = await super().records(), self.held
        if held is not None:
            self.held = None
            await held.wait()
        return found

    async def compare_and_set(self, name: str, expected: str | None, text: str | None) -> bool:
        swapped = await super().compare_and_set(name, expected, text)
        if name == ROLLOUT_RECORD and (rollout := decode_rollout(text)) is not None and self.lose(rollout):
            self.down = True
            raise StoreUnavailable("the event log did not answer in time")
        return swapped


class FakeDeployment:
    """A store, and workers that come and go."""

    def __init__(self) -> None:
        self.store = UnsureStore()

    @asynccontextmanager
    async def worker(
        self,
        bundles: FakeBundles,
        *,
        watch: bool = False,
        load: float = 5.0,
        switch: float = 5.0,
        retry: float = 30.0,
    ) -> AsyncIterator[RolloutManager]:
        patience = RolloutTimeouts(load, switch, watch=0.1, retry=retry)
        models = RolloutManager(bundles, self.store, next(_names), watch=watch, patience=patience)
        await models.start()
        yield models
        await models.close()

    def killed(self, models: RolloutManager) -> None:
        """As by kill -9: nothing of it runs any more, and its note stays."""
        reconciler = models._reconciler
        assert reconciler._following is not None
        reconciler._following.cancel()
        if reconciler._loading is not None:
            reconciler._loading.cancel()

    @property
    def rollout(self) -> Rollout:
        found = decode_rollout(self.store.written[ROLLOUT_RECORD])
        assert found is not None
        return found


def run(scenario: Callable[[FakeDeployment], Awaitable[None]]) -> None:
    asyncio.run(asyncio.wait_for(scenario(FakeDeployment()), 60))  # type: ignore[arg-type]


async def until(holds: Callable[[], bool]) -> None:
    for _ in range(1000):
        if holds():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("waited in vain")


def versions(*workers: RolloutManager) -> list[list[str]]:
    return [[engine.version for engine in worker.served] for worker in workers]
