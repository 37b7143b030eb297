"""Rollout manager: changes the served models in all workers.

The state machine is drawn in the docstring of the package, `service/core/rollout/__init__.py`.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from service.core.errors import (
    BundleRefusedError,
    ModelVersionNotFound,
    RolloutRefused,
    RolloutUnfinished,
    ServiceError,
)
from service.core.periodic_task import PeriodicTask
from service.core.ports import Bundles, Engine, Store
from service.core.rollout.desired_state import ABTest, DesiredState, Serving
from service.core.rollout.membership import Membership
from service.core.rollout.reconciler import Reconciler, RolloutMeter
from service.core.rollout.rollout_steps import Baseline, RolloutAttempt, RolloutTimeouts

_log = logging.getLogger(__name__)

_DEFAULT_TIMEOUTS = RolloutTimeouts()


class RolloutManager:
    """Implementation of `core.ports.Models`, and the optional watch of the model registry."""

    def __init__(
        self,
        bundles: Bundles,
        store: Store,
        worker: str,
        meter: RolloutMeter,
        *,
        watch: bool = False,
        timeouts: RolloutTimeouts = _DEFAULT_TIMEOUTS,
        is_complete: Callable[[Engine], bool] = lambda engine: True,
    ) -> None:
        """Create the manager of one worker.

        Args:
            bundles: the model registry.
            store: holds the records that all workers share.
            worker: the name of this worker, unique on the store.
            meter: records which versions this worker serves.
            watch: whether newly published bundles are rolled out automatically (decision 0065).
            timeouts: the time limits.
            is_complete: whether an engine may be switched to, see `Reconciler`.
        """
        self._bundles = bundles
        self._store = store
        self._membership = Membership(store, worker)
        self._reconciler = Reconciler(
            bundles,
            store,
            self._membership,
            meter,
            watching=watch,
            retry_seconds=timeouts.retry_seconds,
            is_complete=is_complete,
        )
        self._timeouts = timeouts
        self._one_at_a_time = asyncio.Lock()
        self._watch = watch
        self._watch_due, self._watch_not_before = True, 0.0
        self._watch_task = PeriodicTask(
            self._watch_registry,
            _log,
            "cannot watch the model registry",
            retry_seconds=timeouts.watch_interval_seconds,
            first_delay_seconds=timeouts.watch_interval_seconds,
        )

    async def start(self) -> None:
        """Serve the desired version, and start reconciling; raise `BundleRefusedError`."""
        await self._reconciler.start()
        if self._watch:
            self._watch_task.start()

    async def close(self) -> None:
        """Stop the watch and the reconciler."""
        await self._watch_task.close()
        await self._reconciler.close()

    @property
    def live(self) -> Engine:
        """The engine that answers users in no A/B test."""
        return self._reconciler.served.engines[0]

    @property
    def served(self) -> tuple[Engine, ...]:
        """The engines that answer, the live one first."""
        return self._reconciler.served.engines

    @property
    def share(self) -> float:
        """Fraction of the users that the second of `served` answers."""
        test = self._reconciler.served.serving.ab_test
        return 0.0 if test is None else test.share

    def for_user(self, user_id: str) -> Engine:
        """Return the engine that answers this user."""
        served = self._reconciler.served
        test = served.serving.ab_test
        return served.engines[1 if test is not None and test.includes(user_id) else 0]

    async def reload(self, version: str | None) -> Engine:
        """Make `version` (None: the newest) live in every worker; see `core.ports.Models`."""
        async with self._exclusive():
            baseline = await self._wait_until_idle()
            self._refuse_during_test(baseline.desired, allowed=None)
            await self._roll_out(baseline, Serving(baseline.newest.version if version is None else version))
        return self.live

    async def begin_test(self, version: str, share: float) -> None:
        """Start an A/B test, or change its share; see `core.ports.Models`."""
        async with self._exclusive():
            baseline = await self._wait_until_idle()
            live, test = baseline.desired.serving.live, baseline.desired.serving.ab_test
            if version == live:
                raise RolloutRefused(f"{version} is the live model; a test needs another one beside it")
            self._refuse_during_test(baseline.desired, allowed=version)
            salt = secrets.token_hex(8) if test is None else test.salt
            await self._roll_out(baseline, Serving(live, ABTest(version, share, salt)))

    async def end_test(self, winner: str) -> Engine:
        """Let one of the two versions answer all users; see `core.ports.Models`."""
        async with self._exclusive():
            baseline = await self._wait_until_idle()
            serving = baseline.desired.serving
            if serving.ab_test is None:
                raise RolloutRefused("no A/B test is under way")
            if winner not in serving.versions:
                raise ModelVersionNotFound(f"the test is between {' and '.join(serving.versions)}")
            await self._roll_out(baseline, Serving(winner))
        return self.live

    @asynccontextmanager
    async def _exclusive(self) -> AsyncIterator[None]:
        """Allow one rollout at a time in this worker; log failures.

        A `BundleRefusedError` becomes a `RolloutRefused`.
        """
        async with self._one_at_a_time:
            try:
                yield
            except BundleRefusedError as error:
                _log.warning("rollout refused; live version unchanged", extra={"reason": error.for_log})
                raise RolloutRefused(f"rollout refused; live version unchanged: {error}") from None
            except RolloutRefused as error:
                _log.warning("rollout refused; live version unchanged", extra={"reason": error.message})
                raise
            except RolloutUnfinished as error:
                _log.warning("rollout decided, but not finished", extra={"reason": error.message})
                raise

    async def _wait_until_idle(self) -> Baseline:
        """Wait until no rollout is running; return the new baseline.

        Raises `RolloutRefused` after `load_seconds`.
        """
        deadline = time.monotonic() + self._timeouts.load_seconds
        while True:
            await self._reconciler.reconcile()
            desired, record = self._reconciler.desired, self._reconciler.record
            if desired is None:  # the record has the format of another release; this rollout replaces it
                desired = DesiredState(self._reconciler.served.serving, False, ("", ""))
            if desired.coming is None:
                break
            if time.monotonic() > deadline:
                raise RolloutRefused(f"{desired.author} is rolling out {desired.coming.label}; try again later")
            await self._reconciler.wait_for_next_pass()
        return Baseline(desired, record, await self._bundles.published())

    async def _roll_out(self, baseline: Baseline, target: Serving, *, chosen: bool = True) -> None:
        attempt = RolloutAttempt(
            self._store, self._membership, self._reconciler, self._timeouts, baseline, target, chosen=chosen
        )
        await attempt.run()

    @staticmethod
    def _refuse_during_test(desired: DesiredState, allowed: str | None) -> None:
        """Raise `RolloutRefused` during an A/B test of another version than `allowed`."""
        test = desired.serving.ab_test
        if test is not None and test.version != allowed:
            raise RolloutRefused(f"an A/B test of {test.version} is under way; end it first")

    async def _watch_registry(self) -> float:
        """Roll out a newly published bundle.

        The registry must not have changed for one interval, because a bundle may still be copied into it.
        """
        try:
            if await self._bundles.changed():
                self._watch_due = True
            elif self._watch_due and self._membership.leads_watch() and time.monotonic() >= self._watch_not_before:
                self._watch_due = False
                await self._roll_out_newest()
        except BundleRefusedError as error:
            _log.warning("cannot roll out the published bundle", extra={"reason": error.for_log})
        except ServiceError as error:  # not the bundle's fault
            self._watch_due, self._watch_not_before = True, time.monotonic() + self._timeouts.retry_seconds
            _log.warning("cannot roll out the published bundle yet; retrying", extra={"reason": error.for_log})
        return self._timeouts.watch_interval_seconds

    async def _roll_out_newest(self) -> None:
        """Roll out the newest bundle if the last decision is older.

        An A/B test prevents it.
        """
        async with self._one_at_a_time:
            baseline = await self._wait_until_idle()
            desired = baseline.desired
            if desired.serving.ab_test is None and baseline.newest.order > desired.newest:
                await self._roll_out(baseline, Serving(baseline.newest.version), chosen=False)
