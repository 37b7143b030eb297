"""The rebuild of memos in the background: after a change of model nobody's first request has to fold a whole log.

Every worker walks the users of the store, each its own pages (see `rebuild`), and brings their memos under each
served model up to their logs, as each user's next reader would. It is therefore never needed, only kind: a worker may
die at any point, and an edit of a history refuses the memo that was folded from it before.

It gives way to requests: reads and writes of the store are a millisecond or so each, folds run in a thread of their
own without the GIL, and after each batch, and each page that it counts, it rests, so that it works for no more than
its share of the time.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Protocol

from service.core.errors import StoreUnavailable
from service.core.jobs.backfill_progress_record import BackfillProgressRecord, BackfillWork, Progress
from service.core.jobs.backfill_worker import BackfillWorker, BackfillWorkerMeter
from service.core.log_throttle import ThrottledLogger
from service.core.ports import Engine, Store

_log = logging.getLogger(__name__)
_outages = ThrottledLogger(_log)

LOOK_SECONDS = 1.0  # between two looks at what is served
PATIENCE_SECONDS = 10.0


class BackfillMeter(BackfillWorkerMeter, Protocol):
    """What a warmer reports."""

    def backfill_progress(self, share: float | None) -> None:
        """So much of the users is looked at, by all workers; None: this worker list_backfills nothing now."""
        ...


class BackfillJob:
    """Rebuilds until it is closed. It may work for `share` of the time, above 0 and up to 1.

    `served` are the engines that answer now.
    """

    def __init__(
        self,
        store: Store,
        served: Callable[[], Sequence[Engine]],
        meter: BackfillMeter,
        *,
        share: float,
        look: float = LOOK_SECONDS,
        patience: float = PATIENCE_SECONDS,
    ) -> None:
        self._store = store
        self._served = served
        self._meter = meter
        self._share = share
        self._look = look
        self._timeouts = patience
        self._task: asyncio.Task[None] | None = None
        self._refolder = BackfillWorker(store, meter, share)
        # Versions that were served at the last look, those whose rebuild has ended, and those to be rebuilt again
        # even so: they have come back, and while another model answered nobody kept their memos up.
        self._known: set[str] | None = None
        self._ended: set[str] = set()
        self._again: set[str] = set()

    def start(self) -> None:
        """Begin, in the background."""
        self._task = asyncio.create_task(self._run())

    async def close(self) -> None:
        """Stop where it is: another worker, or the next start, goes on with the rest."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        await self._refolder.close()

    async def _run(self) -> None:
        while True:
            try:
                await self._look_around()
            except StoreUnavailable as error:
                _outages.warn(error.code, "the rebuild of memos waits for the log", reason=error.for_log)
            except Exception:
                _log.exception("the rebuild of memos failed, and is tried again")
            finally:
                self._meter.backfill_progress(None)
            await asyncio.sleep(self._look)

    async def _look_around(self) -> None:
        engines = {engine.version: engine for engine in self._served()}
        if self._known is not None:
            self._again |= engines.keys() - self._known
        self._known = set(engines)
        self._ended &= self._known - self._again
        for version, engine in engines.items():
            if version not in self._ended:
                await self._rebuild(engine)

    def _serves(self, engine: Engine) -> bool:
        return any(served.version == engine.version for served in self._served())

    async def _rebuild(self, engine: Engine) -> None:
        """Until it has ended, for all workers, or is no more this one's to do."""
        version = engine.version
        ledger = BackfillProgressRecord(self._store, version, self._timeouts, self._share)
        progress = await ledger.open(again=version in self._again, serving=self._known or ())
        self._again.discard(version)
        began, total = time.monotonic(), BackfillWork()
        if progress.ended_at is None:
            _log.info("rebuilding memos of %d users", progress.total_users, extra={"model": version})
        while progress.ended_at is None and self._serves(engine):
            page, progress = await ledger.claim()
            self._meter.backfill_progress(progress.fraction_done)
            if page:
                work = await self._bring_up(engine, page)
                total += work
                ledger.did(work)
            elif progress.ended_at is None:  # others have the last pages
                await asyncio.sleep(self._look)
        if progress.ended_at is not None:
            self._ended.add(version)
        if total.users:
            _say(version, progress, total, time.monotonic() - began)

    async def _bring_up(self, engine: Engine, users: Sequence[str]) -> BackfillWork:
        """Look at these users, and store memos for those who have none or one that is behind."""
        waiting, work = deque(users), BackfillWork()
        while waiting:
            work += await self._refolder.batch(engine, waiting)
        return work


def _say(version: str, progress: Progress, work: BackfillWork, seconds: float) -> None:
    _log.info(
        "%s: this worker looked at %d users and folded %d events into %d memos, %.0f events/s",
        "left the rebuild of memos" if progress.ended_at is None else "memos are rebuilt",
        work.users,
        work.events,
        work.snapshots,
        work.events / max(seconds, 1e-9),
        extra={
            "model": version,
            "walks": progress.pass_number,
            "all_memos": progress.snapshots,
            "all_events": progress.events,
        },
    )
