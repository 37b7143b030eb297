"""Reconciler: makes one worker serve what the rollout record says."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from typing import Protocol

from service.core.errors import StoreUnavailable
from service.core.periodic_task import PeriodicTask
from service.core.ports import Bundles, Engine, Store
from service.core.rollout.desired_state import ROLLOUT_RECORD, DesiredState, Serving, decode_desired_state
from service.core.rollout.loaded_engines import LoadedEngines
from service.core.rollout.membership import Membership, WorkerStatus

_log = logging.getLogger(__name__)

RECONCILE_SECONDS = 0.1


class RolloutMeter(Protocol):
    """Metrics of the rollout."""

    def served_versions(self, versions: Sequence[str]) -> None:
        """Record the versions that this worker serves, the live one first."""
        ...


@dataclass(frozen=True, slots=True)
class ServedModels:
    """Engines that answer in this worker, in the order of `serving.versions`.

    Immutable: a switch replaces the whole object, so no request sees half of a switch.
    """

    serving: Serving
    engines: tuple[Engine, ...]


_NOTHING = ServedModels(Serving(""), ())


class Reconciler:
    """Loads and serves the engines that the rollout record names.

    The attribute `served` holds the served models. `start` sets it before it returns, and only a switch replaces it.
    """

    def __init__(
        self,
        bundles: Bundles,
        store: Store,
        membership: Membership,
        meter: RolloutMeter,
        *,
        watching: bool = False,
        retry_seconds: float = 30.0,
        is_complete: Callable[[Engine], bool] = lambda engine: True,
    ) -> None:
        """Create the reconciler of one worker.

        Args:
            bundles: the source of the engines.
            store: holds the records.
            membership: reports this worker's status.
            meter: records which versions this worker serves.
            watching: part of this worker's status, see `WorkerStatus`.
            retry_seconds: pause before a serving version that could not be loaded is tried again.
            is_complete: whether an engine may be switched to: each new item has its vector.
        """
        self._bundles = bundles
        self._store = store
        self._membership = membership
        self._meter = meter
        self._watching = watching
        self._engines = LoadedEngines(bundles, retry_seconds)
        self._is_complete = is_complete
        self.served = _NOTHING
        self._record: str | None = None
        self._desired: DesiredState | None = None
        self._own_attempt = ""
        self._pinned: frozenset[str] = frozenset()
        self._reconciling = asyncio.Lock()
        self._pass_ended = asyncio.Event()
        self._task = PeriodicTask(
            self._run_pass,
            _log,
            "cannot apply the rollout record; still serving the current version",
            retry_seconds=RECONCILE_SECONDS,
            first_delay_seconds=RECONCILE_SECONDS,
        )

    @property
    def record(self) -> str | None:
        """The rollout record as it was last read."""
        return self._record

    @property
    def desired(self) -> DesiredState | None:
        """The last desired state that could be parsed."""
        return self._desired

    async def start(self) -> None:
        """Serve what the record names, else the newest bundle.

        Raises `BundleRefusedError` if neither can be loaded.
        """
        try:
            await self.reconcile()
            if self._record is None:
                await self._create_record()
            while not self.served.engines and await self._engines.wait_for_background_load():
                await self.reconcile()
        except StoreUnavailable as error:
            _log.warning("cannot read the rollout record; serving the newest bundle", extra={"reason": error.for_log})
        if not self.served.engines:
            await self._serve_what_loads()
        self._task.start()

    async def close(self) -> None:
        """Stop reconciling, and leave the membership. The served engines stay usable."""
        await self._task.close()
        await self._engines.close()
        with suppress(StoreUnavailable):
            await self._membership.leave()

    async def reconcile(self) -> None:
        """Read the records and apply them; raise `StoreUnavailable`.

        A bundle that has to be loaded is loaded in the background. Only one pass runs at a time: of two, the one that
        read the older record could end last.
        """
        async with self._reconciling:
            records = await self._store.records()
            self._membership.observe(records)
            record = records.get(ROLLOUT_RECORD)
            if record is None and self._desired is not None:  # the store has lost the record
                await self._store.compare_and_set(ROLLOUT_RECORD, None, self._desired.encode())
            elif record != self._record:
                self._record = record
                self._desired = decode_desired_state(record) or self._desired
                self._engines.forget_refusals()
            if self._desired is not None:
                self._apply(self._desired)
                await self._abandon_if_lost(self._desired, record)
            await self._membership.report(self._status())
            await self._membership.remove_dead()

    async def wait_for_next_pass(self) -> None:
        """Return when the periodic task has ended its next pass."""
        await self._pass_ended.wait()

    async def load(self, version: str) -> None:
        """Load the version unless it is loaded; raise as `Bundles.load` does."""
        await self._engines.load(version)

    @contextmanager
    def rolling_out(self, versions: tuple[str, ...]) -> Iterator[str]:
        """Keep `versions` loaded during one rollout attempt; yield its id.

        If the record names any other attempt of this worker, the next pass abandons it.
        """
        self._pinned, self._own_attempt = frozenset(versions), secrets.token_hex(4)
        try:
            yield self._own_attempt
        finally:
            self._pinned, self._own_attempt = frozenset(), ""

    async def _run_pass(self) -> float:
        try:
            await self.reconcile()
        finally:
            ended, self._pass_ended = self._pass_ended, asyncio.Event()
            ended.set()
        return RECONCILE_SECONDS

    def _apply(self, desired: DesiredState) -> None:
        """Load missing engines, switch if possible, and release unneeded engines."""
        serving = desired.serving
        named = serving.versions + (() if desired.coming is None else desired.coming.versions)
        for version in named:
            self._engines.load_in_background(version, retry=version in serving.versions)
        if self.served.serving.label != serving.label and self._can_serve(serving.versions):
            self._switch(serving)
        if self.served.engines:
            self._engines.keep_only({*named, *self.served.serving.versions, *self._pinned})

    def _can_serve(self, versions: tuple[str, ...]) -> bool:
        return self._engines.has_all(versions) and all(map(self._is_complete, self._engines.get_all(versions)))

    def _switch(self, serving: Serving) -> None:
        self.served = ServedModels(serving, self._engines.get_all(serving.versions))
        test = serving.ab_test
        test_fields = {} if test is None else {"ab_test": test.version, "share": test.share}
        _log.info("switched to a model", extra={"model": serving.live, **test_fields})
        self._meter.served_versions(serving.versions)

    async def _abandon_if_lost(self, desired: DesiredState, record: str | None) -> None:
        """Remove the coming version if its author no longer works on it.

        Either the author is dead, or it is this worker and the attempt has ended. The latter happens if the store was
        away: the author could not withdraw, or did not learn that its announcement was written.
        """
        if desired.author == self._membership.worker:
            lost = desired.attempt != self._own_attempt
        else:
            lost = desired.author not in self._membership.alive()
        if desired.coming is not None and lost:
            idle = replace(desired, coming=None, author="", attempt="")
            if await self._store.compare_and_set(ROLLOUT_RECORD, record, idle.encode()):
                fields = {"author": desired.author, "coming": desired.coming.label}
                _log.warning("abandoned a rollout that its author no longer works on", extra=fields)

    def _status(self) -> WorkerStatus:
        return WorkerStatus(
            self._engines.versions,
            self.served.serving.label,
            self._engines.refusals,
            self._watching,
            "" if self._desired is None else self._desired.attempt,
        )

    async def _create_record(self) -> None:
        """Serve the newest bundle, and create the record of it."""
        newest = (await self._bundles.published())[-1]
        await self._engines.load(newest.version)
        desired = DesiredState(Serving(newest.version), False, newest.order)
        await self._store.compare_and_set(ROLLOUT_RECORD, None, desired.encode())
        await self.reconcile()

    async def _serve_what_loads(self) -> None:
        """Serve the desired live version if loaded, else the newest bundle."""
        live = None if self._desired is None else self._desired.serving.live
        if live is None or not self._engines.has_all([live]):
            live = (await self._bundles.published())[-1].version
            await self._engines.load(live)
        self._switch(Serving(live))
