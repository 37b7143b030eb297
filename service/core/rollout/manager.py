"""The models that answer, the same ones in every worker: see core.ports.Models.

All workers follow one note (`rollout`, `follower`), and exchange their models by it (`exchange`).
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

from service.core.errors import ModelVersionNotFound, RolloutRefused, RolloutUnfinished, ServiceError
from service.core.ports import BundleRefusedError, Bundles, Engine, Store
from service.core.rollout.desired_state import Rollout, Serving, Split
from service.core.rollout.exchange import Before, Exchange, RolloutTimeouts
from service.core.rollout.membership import Membership
from service.core.rollout.reconciler import Reconciler

_log = logging.getLogger(__name__)

_PATIENCE = RolloutTimeouts()
WATCH_AGAIN_SECONDS = 30.0  # after a takeover that did not fail for the bundle itself


class RolloutManager:
    """See core.ports.Models. With `watch` a newly published bundle is taken over by itself."""

    def __init__(
        self,
        bundles: Bundles,
        store: Store,
        name: str,
        *,
        watch: bool = False,
        switched: Callable[[tuple[str, ...]], None] = lambda versions: None,
        patience: RolloutTimeouts = _PATIENCE,
    ) -> None:
        self._bundles = bundles
        self._store = store
        self._membership = Membership(store, name)
        self._reconciler = Reconciler(
            bundles, store, self._membership, watches=watch, switched=switched, retry=patience.retry
        )
        self._exchange = Exchange(store, self._membership, self._reconciler, patience)
        self._watch = watch
        self._timeouts = patience
        self._one_at_a_time = asyncio.Lock()
        self._watching: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Load what is to be served, and follow the note from now on; raises `BundleRefusedError`."""
        await self._reconciler.start()
        if self._watch:
            self._watching = asyncio.create_task(self._keep_watch())

    async def close(self) -> None:
        """Follow the note no longer."""
        if self._watching is not None:
            self._watching.cancel()
            with suppress(asyncio.CancelledError):
                await self._watching
        await self._reconciler.close()

    @property
    def live(self) -> Engine:
        """The model that answers whoever is in no test."""
        return self._reconciler.now.engines[0]

    @property
    def served(self) -> tuple[Engine, ...]:
        """The models that answer now, the live one first."""
        return self._reconciler.now.engines

    @property
    def share(self) -> float:
        """The share of the users that the second of `served` answers."""
        split = self._reconciler.now.split
        return 0.0 if split is None else split.share

    def for_user(self, user_id: str) -> Engine:
        """The model that answers this user."""
        now = self._reconciler.now
        return now.engines[1 if now.split is not None and now.split.takes(user_id) else 0]

    async def reload(self, version: str | None) -> Engine:
        """Make `version` (None: the newest) the live model in every worker; see core.ports.Models."""
        async with self._alone():
            before = await self._when_free()
            self._refuse_in_a_test(before.rollout, but=None)
            chosen = before.published[-1].version if version is None else version
            await self._exchange.run(before, Serving(chosen))
        return self.live

    async def begin_test(self, version: str, share: float) -> None:
        """Let `version` answer a share of the users beside the live model; see core.ports.Models.

        Of a test that is under way already this changes the share.
        """
        async with self._alone():
            before = await self._when_free()
            live, split = before.rollout.serving.live, before.rollout.serving.split
            if version == live:
                raise RolloutRefused(f"{version} is the live model; a test needs another one beside it")
            self._refuse_in_a_test(before.rollout, but=version)
            salt = secrets.token_hex(8) if split is None else split.salt
            await self._exchange.run(before, Serving(live, Split(version, share, salt)))

    async def end_test(self, winner: str) -> Engine:
        """Let one of the two versions answer everybody; see core.ports.Models."""
        async with self._alone():
            before = await self._when_free()
            serving = before.rollout.serving
            if serving.split is None:
                raise RolloutRefused("no A/B test is under way")
            if winner not in serving.versions:
                raise ModelVersionNotFound(f"the test is between {' and '.join(serving.versions)}")
            await self._exchange.run(before, Serving(winner))
        return self.live

    @asynccontextmanager
    async def _alone(self) -> AsyncIterator[None]:
        """One exchange at a time in this worker; what a bundle is refused for becomes the caller's error."""
        async with self._one_at_a_time:
            try:
                yield
            except BundleRefusedError as error:
                _log.warning("models not exchanged: the live model stays: %s", error.for_log)
                raise RolloutRefused(f"the live model stays: {error}") from None
            except (RolloutRefused, RolloutUnfinished) as error:
                _log.warning("models not exchanged: %s", error.message)
                raise

    async def _when_free(self) -> Before:
        """What there is once no other worker brings anything up."""
        deadline = time.monotonic() + self._timeouts.load
        while True:
            await self._reconciler.look()
            rollout, text = self._reconciler.rollout, self._reconciler.text
            if rollout is None:  # the note is of another release of this software: what is served here replaces it
                rollout = Rollout(self._reconciler.now.serving, False, ("", ""))
            if rollout.coming is None:
                break
            if time.monotonic() > deadline:
                raise RolloutRefused(f"another exchange is under way: {rollout.by} brings up {rollout.coming.label}")
            await self._reconciler.next_look()
        return Before(rollout, text, await self._bundles.published())

    @staticmethod
    def _refuse_in_a_test(rollout: Rollout, but: str | None) -> None:
        split = rollout.serving.split
        if split is not None and split.version != but:
            raise RolloutRefused(f"an A/B test of {split.version} is under way; end it first")

    async def _keep_watch(self) -> None:
        """Take over what is published, once it has stood still: somebody may be copying it there."""
        due, not_before = True, 0.0
        while True:
            await asyncio.sleep(self._timeouts.watch)
            try:
                if await self._bundles.changed():
                    due = True
                elif due and self._leads() and time.monotonic() >= not_before:
                    due = False
                    await self._take_over()
            except BundleRefusedError as error:
                _log.warning("a published bundle is not taken over: %s", error.for_log)
            except ServiceError as error:  # not for the bundle's sake, so it is tried again
                due, not_before = True, time.monotonic() + WATCH_AGAIN_SECONDS
                _log.warning("a published bundle is not taken over yet: %s", error.for_log)
            except Exception:
                _log.exception("the watch of the bundles failed")

    def _leads(self) -> bool:
        """Whether of the workers that watch this one takes over: it is enough that one does."""
        watching = [name for name, report in self._membership.alive().items() if report.watches]
        return self._membership.name == min(watching, default="")  # nobody before the store has first answered

    async def _take_over(self) -> None:
        """Serve the newest bundle if it was published after the last decision; not in the middle of a test."""
        async with self._one_at_a_time:
            before = await self._when_free()
            newest = before.published[-1]
            if before.rollout.serving.split is None and newest.order > before.rollout.newest:
                await self._exchange.run(before, Serving(newest.version), chosen=False)
