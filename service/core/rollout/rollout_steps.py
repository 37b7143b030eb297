"""Rollout attempt: one change of what all workers serve, in five steps.

The state machine is drawn in the docstring of the package, `service/core/rollout/__init__.py`.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from dataclasses import dataclass, replace

from service.core.errors import RolloutRefused, RolloutUnfinished, StoreUnavailable
from service.core.ports import ModelVersion, Store
from service.core.rollout.desired_state import ROLLOUT_RECORD, DesiredState, Serving
from service.core.rollout.membership import Membership
from service.core.rollout.reconciler import Reconciler


@dataclass(frozen=True, slots=True)
class RolloutTimeouts:
    """Time limits and intervals of a rollout.

    Attributes:
        load_seconds: limit for all workers to load the coming version, and for another rollout to end first.
        switch_seconds: limit for all workers to switch.
        watch_interval_seconds: time between two checks of the model registry.
        retry_seconds: pause before a failed load, or a failed automatic rollout, is tried again.
    """

    load_seconds: float = 120.0
    switch_seconds: float = 5.0
    watch_interval_seconds: float = 1.0
    retry_seconds: float = 30.0


@dataclass(frozen=True, slots=True)
class Baseline:
    """State that an attempt starts from, all read at once.

    Attributes:
        desired: the desired state; nothing is coming.
        record: its text in the store, which must not have changed when the attempt writes.
        published: the bundles in the model registry, oldest first.
    """

    desired: DesiredState
    record: str | None
    published: list[ModelVersion]

    @property
    def newest(self) -> ModelVersion:
        """The newest bundle."""
        return self.published[-1]


class RolloutAttempt:
    """One rollout attempt by this worker, from one baseline to one target."""

    def __init__(
        self,
        store: Store,
        membership: Membership,
        reconciler: Reconciler,
        timeouts: RolloutTimeouts,
        baseline: Baseline,
        target: Serving,
        *,
        chosen: bool,
    ) -> None:
        """Prepare the attempt; `chosen` says that an operator requested it, see `DesiredState`."""
        self._store = store
        self._membership = membership
        self._reconciler = reconciler
        self._timeouts = timeouts
        self._baseline = baseline
        self._target = target
        self._decided = DesiredState(target, chosen, baseline.newest.order).encode()

    async def run(self) -> None:
        """Make every worker serve the target.

        Raises:
            ModelVersionNotFound: the registry has no such version.
            BundleRefusedError: this worker cannot load the bundle.
            RolloutRefused: another worker cannot load it, or decided something else meanwhile.
            RolloutUnfinished: the target is decided, but some workers have not switched in time.
            StoreUnavailable: the store does not answer.
        """
        with self._reconciler.rolling_out(self._target.versions) as attempt:
            await self._load_here()
            announced = self._announcement(attempt)
            try:
                await self._announce(announced)
                await self._wait_until_all_have_loaded(attempt)
                await self._commit(announced)
            except BaseException:
                await self._withdraw(announced)
                raise
            await self._reconciler.reconcile()
        await self._wait_until_all_serve()

    async def _load_here(self) -> None:
        for version in self._target.versions:
            await self._reconciler.load(version)

    def _announcement(self, attempt: str) -> str:
        author = self._membership.worker
        return replace(self._baseline.desired, coming=self._target, author=author, attempt=attempt).encode()

    async def _announce(self, announced: str) -> None:
        """Name the target as coming, unless the record has changed meanwhile."""
        await self._replace_record(self._baseline.record, announced)

    async def _wait_until_all_have_loaded(self, attempt: str) -> None:
        deadline = time.monotonic() + self._timeouts.load_seconds
        while late := self._not_loaded(attempt):
            if time.monotonic() > deadline:
                raise RolloutRefused(
                    f"rollout refused; live version unchanged: not loaded in time by {', '.join(late)}"
                )
            await self._reconciler.wait_for_next_pass()

    def _not_loaded(self, attempt: str) -> list[str]:
        """Return the other workers that have not loaded the target.

        Raises `RolloutRefused` if one of them cannot load it.
        """
        late = []
        for worker, status in self._membership.others().items():
            if status.attempt != attempt:
                late.append(worker)
                continue
            for version in self._target.versions:
                if reason := status.refused.get(version):
                    raise RolloutRefused(
                        f"rollout refused; live version unchanged: worker {worker} refuses: {reason}"
                    )
            if not set(self._target.versions) <= set(status.loaded):
                late.append(worker)
        return late

    async def _commit(self, announced: str) -> None:
        """Write the decision, which stays in force if this worker dies."""
        await self._replace_record(announced, self._decided)

    async def _withdraw(self, announced: str) -> None:
        """Restore the baseline's record if it holds the announcement."""
        with suppress(StoreUnavailable):  # the next pass of the reconciler abandons the attempt
            await asyncio.shield(self._store.compare_and_set(ROLLOUT_RECORD, announced, self._baseline.record))

    async def _wait_until_all_serve(self) -> None:
        deadline = time.monotonic() + self._timeouts.switch_seconds
        while late := self._not_serving():
            if time.monotonic() > deadline:
                raise RolloutUnfinished(f"new version is live; workers not switched yet: {', '.join(late)}")
            await self._reconciler.wait_for_next_pass()

    def _not_serving(self) -> list[str]:
        label, others = self._target.label, self._membership.others().items()
        late = [worker for worker, status in others if status.serving != label]
        if self._reconciler.served.serving.label != label:  # new items that were just put have no vectors yet
            late.append(self._membership.worker)
        return late

    async def _replace_record(self, expected: str | None, text: str) -> None:
        if not await self._store.compare_and_set(ROLLOUT_RECORD, expected, text):
            raise RolloutRefused("rollout refused; live version unchanged: another worker changed the rollout record")
