"""Backfill job: recomputes snapshots in the background after a change of model.

Without it a user's first request under the new model would replay the whole log. All workers share the work, page by
page (see `backfill_progress_record`). It is optional: a worker may die at any point, and the store refuses a snapshot
that was computed before an edit of the log.

Requests come first. Store calls take about a millisecond each, and replays run without the GIL in a thread of low
priority. The job pauses after each step, so that it works for at most `max_fraction` of the time.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque

from service.core.jobs.backfill_progress_record import BackfillProgressRecord, BackfillWork, Progress
from service.core.jobs.backfill_worker import BackfillMeter, BackfillWorker
from service.core.periodic_task import PeriodicTask
from service.core.ports import Engine, Models, Store
from service.core.recommending.log_replay.snapshots import NewItems

_log = logging.getLogger(__name__)

POLL_SECONDS = 1.0
CLAIM_TIMEOUT_SECONDS = 10.0


class BackfillJob:
    """Backfills the snapshots of each served model version until it is closed."""

    def __init__(
        self,
        store: Store,
        models: Models,
        meter: BackfillMeter,
        new_items: NewItems | None = None,
        *,
        max_fraction: float,
        poll_seconds: float = POLL_SECONDS,
        claim_timeout_seconds: float = CLAIM_TIMEOUT_SECONDS,
    ) -> None:
        """Create the job without starting it.

        Args:
            store: holds logs, snapshots and the progress.
            models: the served models.
            meter: counts the work.
            new_items: vectors of new items; None: no model has an encoder.
            max_fraction: fraction of the time that this job may take; above 0, at most 1.
            poll_seconds: time between two checks of the served models, or of the other workers' last pages.
            claim_timeout_seconds: time without progress after which the pages of other workers count as lost.
        """
        self._store = store
        self._models = models
        self._meter = meter
        self._max_fraction = max_fraction
        self._poll_seconds = poll_seconds
        self._claim_timeout_seconds = claim_timeout_seconds
        self._worker = BackfillWorker(store, meter, max_fraction, new_items)
        self._task = PeriodicTask(
            self._backfill_served, _log, "cannot backfill snapshots; retrying", retry_seconds=poll_seconds
        )
        self._served: set[str] | None = None  # at the last check
        self._ended: set[str] = set()
        # Versions that are served again. Nobody kept their snapshots up to date while they were not.
        self._returned: set[str] = set()

    def start(self) -> None:
        """Start to work in the background."""
        self._task.start()

    async def close(self) -> None:
        """Stop at once. Another worker, or the next start, continues."""
        await self._task.close()
        await self._worker.close()

    async def _backfill_served(self) -> float:
        """Backfill each served version whose backfill has not ended."""
        try:
            engines = {engine.version: engine for engine in self._models.served}
            if self._served is not None:
                self._returned |= engines.keys() - self._served
            self._served = set(engines)
            self._ended &= self._served - self._returned
            for version, engine in engines.items():
                if version not in self._ended:
                    await self._backfill(engine, self._served)
        finally:
            self._meter.backfill_progress(None)
        return self._poll_seconds

    async def _backfill(self, engine: Engine, served: set[str]) -> None:
        """Process pages until the backfill ends or the version is replaced."""
        version = engine.version
        record = BackfillProgressRecord(
            self._store,
            version,
            claim_timeout_seconds=self._claim_timeout_seconds,
            max_fraction=self._max_fraction,
        )
        progress = await record.join(restart=version in self._returned, served=served)
        self._returned.discard(version)
        started_at, total = time.monotonic(), BackfillWork()
        if progress.ended_at is None:
            _log.info("backfill started", extra={"model": version, "users": progress.total_users})
        while progress.ended_at is None and self._serves(version):
            page, progress = await record.claim_page()
            self._meter.backfill_progress(progress.fraction_done)
            if page:
                work = await self._process_page(engine, page)
                total += work
                record.add_work(work)
            elif progress.ended_at is None:  # other workers process the last pages
                await asyncio.sleep(self._poll_seconds)
        if progress.ended_at is not None:
            self._ended.add(version)
        if total.users:
            _log_end(version, progress, total, time.monotonic() - started_at)

    def _serves(self, version: str) -> bool:
        return any(engine.version == version for engine in self._models.served)

    async def _process_page(self, engine: Engine, page: list[str]) -> BackfillWork:
        users, work = deque(page), BackfillWork()
        while users:
            work += await self._worker.process_batch(engine, users)
        return work


def _log_end(version: str, progress: Progress, work: BackfillWork, seconds: float) -> None:
    """Log the work of this worker, and the totals of all workers."""
    _log.info(
        "backfill stopped: the model is no longer served" if progress.ended_at is None else "backfill finished",
        extra={
            "model": version,
            "users": work.users,
            "snapshots": work.snapshots,
            "events": work.events,
            "events_per_second": round(work.events / max(seconds, 1e-9)),
            "passes": progress.pass_number,
            "all_snapshots": progress.snapshots,
            "all_events": progress.events,
        },
    )
