"""One worker's engines, and which of them answer: it does what the note says (see `live_models`)."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace

from service.core.errors import ServiceError, StoreUnavailable
from service.core.log_throttle import ThrottledLogger
from service.core.ports import BundleRefusedError, Bundles, Engine, Store
from service.core.rollout.desired_state import ROLLOUT_RECORD, Rollout, Serving, Split, decode_rollout
from service.core.rollout.membership import Membership, Report

_log = logging.getLogger(__name__)
_outages = ThrottledLogger(_log)

LOOK_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class _Refusal:
    """Why a version could not be loaded, and when that was tried."""

    reason: str
    at: float


@dataclass(frozen=True, slots=True)
class _Now:
    """What answers at this moment: exchanged as one, so that nobody sees half of it."""

    serving: Serving
    engines: tuple[Engine, ...]
    split: Split | None


class Reconciler:
    """Holds the engines that the note names, and serves them once it holds all of those that it is to serve.

    `switched` hears which versions answer from now on, the live one first. What is to be served and could not be
    loaded is tried again after `retry` seconds.
    """

    def __init__(
        self,
        bundles: Bundles,
        store: Store,
        membership: Membership,
        *,
        watches: bool = False,
        switched: Callable[[tuple[str, ...]], None] = lambda versions: None,
        retry: float = 30.0,
    ) -> None:
        self._bundles = bundles
        self._store = store
        self._membership = membership
        self._watches = watches
        self._switched = switched
        self._retry = retry
        self._engines: dict[str, Engine] = {}
        self._refused: dict[str, _Refusal] = {}
        self._kept: frozenset[str] = frozenset()
        self._now: _Now | None = None
        self._loading: asyncio.Task[None] | None = None
        self._following: asyncio.Task[None] | None = None
        self._looked = asyncio.Event()
        self._one_look = asyncio.Lock()
        self.bringing = ""  # the attempt at an exchange that this worker is in the middle of
        self.text: str | None = None  # the note as it was last read
        self.rollout: Rollout | None = None

    @property
    def now(self) -> _Now:
        """What answers; `start` must have returned."""
        if self._now is None:
            raise RuntimeError("no model is loaded yet")
        return self._now

    async def start(self) -> None:
        """Load what the note names, or the newest bundle where it names none that is here; raises `BundleRefusedError`."""
        try:
            await self.look()
            if self.text is None:
                await self._begin()
            while self._now is None and self._loading is not None:
                await self._loading
                await self.look()
        except StoreUnavailable as error:
            _outages.warn(error.code, "the note of what to serve cannot be read; serving the newest bundle")
        if self._now is None:
            await self._fall_back()
        self._following = asyncio.create_task(self._follow())

    async def close(self) -> None:
        """Stop following. What answers goes on to answer."""
        for task in (self._following, self._loading):
            if task is not None:
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task
        with suppress(StoreUnavailable):
            await self._membership.leave()

    async def look(self) -> None:
        """Read the note and do what it says, short of waiting for a bundle to load; raises `StoreUnavailable`.

        One look at a time: of two, the one that read the older note could end last.
        """
        async with self._one_look:
            notes = await self._store.records()
            self._membership.observe(notes)
            text = notes.get(ROLLOUT_RECORD)
            if text is None and self.rollout is not None:  # it was lost
                await self._store.compare_and_set(ROLLOUT_RECORD, None, self.rollout.encode())
            elif text != self.text:
                self.text, self._refused = text, {}
                self.rollout = decode_rollout(text) or self.rollout
            if self.rollout is not None:
                self._obey(self.rollout)
                await self._give_up_what_is_lost(self.rollout, text)
            await self._membership.say(self._report())
            await self._membership.forget_the_dead()

    async def _give_up_what_is_lost(self, rollout: Rollout, text: str | None) -> None:
        """Take back what is coming where nobody brings it up any more.

        Its author is dead, or is this worker and knows nothing of the attempt: the store has noted it, or kept it,
        without an answer.
        """
        if rollout.by == self._membership.name:
            lost = rollout.attempt != self.bringing
        else:
            lost = rollout.by not in self._membership.alive()
        if rollout.coming is not None and lost:
            stays = replace(rollout, coming=None, by="", attempt="").encode()
            if await self._store.compare_and_set(ROLLOUT_RECORD, text, stays):
                _log.warning("%s no longer brings up %s: given up", rollout.by, rollout.coming.label)

    def _report(self) -> Report:
        return Report(
            tuple(sorted(self._engines)),
            "" if self._now is None else self._now.serving.label,
            {version: refusal.reason for version, refusal in self._refused.items()},
            self._watches,
            "" if self.rollout is None else self.rollout.attempt,
        )

    async def next_look(self) -> None:
        """Return after the note has been looked at once more."""
        await self._looked.wait()

    async def hold(self, version: str) -> None:
        """Load this version if it is not held; raises `ModelVersionNotFound` or `BundleRefusedError`."""
        if self._loading is not None:
            await self._loading
        if version not in self._engines:
            self._engines[version] = await self._bundles.load(version)

    @contextmanager
    def keeping(self, versions: tuple[str, ...]) -> Iterator[None]:
        """Meanwhile these are held also if the note does not name them."""
        self._kept = frozenset(versions)
        try:
            yield
        finally:
            self._kept = frozenset()

    def _obey(self, rollout: Rollout) -> None:
        named = rollout.serving.versions + (() if rollout.coming is None else rollout.coming.versions)
        for version in named:
            due = version not in self._refused or (version in rollout.serving.versions and self._is_due(version))
            if due and version not in self._engines and self._loading is None:
                self._loading = asyncio.create_task(self._load(version))
        here = all(version in self._engines for version in rollout.serving.versions)
        if here and (self._now is None or self._now.serving.label != rollout.serving.label):
            self._serve(rollout.serving)
        if self._now is not None:
            for version in self._engines.keys() - {*named, *self._now.serving.versions, *self._kept}:
                del self._engines[version]

    def _serve(self, serving: Serving) -> None:
        engines = tuple(self._engines[version] for version in serving.versions)
        self._now = _Now(serving, engines, serving.split)
        share = {} if serving.split is None else {"tested": serving.split.version, "share": serving.split.share}
        _log.info("this worker serves %s", serving.live, extra=share)
        self._switched(serving.versions)

    async def _load(self, version: str) -> None:
        said = version in self._refused  # the log has heard it, and hears it once
        try:
            self._engines[version] = await self._bundles.load(version)
            self._refused.pop(version, None)
        except (BundleRefusedError, ServiceError) as error:
            if not said:
                _log.warning("%s is to be served and cannot be: %s", version, error.for_log)
            self._refused[version] = _Refusal(str(error), time.monotonic())
        except Exception:
            if not said:
                _log.exception("a bundle could not be loaded", extra={"version": version})
            self._refused[version] = _Refusal("it could not be loaded; the worker's log says why", time.monotonic())
        finally:
            self._loading = None

    def _is_due(self, version: str) -> bool:
        return time.monotonic() - self._refused[version].at >= self._retry

    async def _begin(self) -> None:
        """Serve the newest bundle, and leave the note that there was none of."""
        newest = (await self._bundles.published())[-1]
        await self.hold(newest.version)
        rollout = Rollout(Serving(newest.version), False, newest.order)
        await self._store.compare_and_set(ROLLOUT_RECORD, None, rollout.encode())
        await self.look()

    async def _fall_back(self) -> None:
        """Serve what is here, for what the note names is not."""
        wanted = None if self.rollout is None else self.rollout.serving
        if wanted is None or wanted.live not in self._engines:
            newest = (await self._bundles.published())[-1]
            await self.hold(newest.version)
            serving = Serving(newest.version)
        else:
            serving = Serving(wanted.live)
        self._serve(serving)

    async def _follow(self) -> None:
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            try:
                await self.look()
            except StoreUnavailable as error:
                _outages.warn(error.code, "the note of what to serve cannot be read", reason=error.for_log)
            except Exception:
                _log.exception("the note of what to serve could not be followed")
            looked, self._looked = self._looked, asyncio.Event()
            looked.set()
