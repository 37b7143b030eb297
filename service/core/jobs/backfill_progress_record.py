"""Progress of a backfill, in a record that all workers share.

The record of a model version holds a cursor into the users of the store. A worker claims a page of users by moving
the cursor (compare-and-set), so each page has one worker and there is no lease to lose (decision 0058). If a worker
dies, its page is missing in the count of processed users. All users are then read in another pass, which is cheap,
because users with a current snapshot are skipped.
"""

from __future__ import annotations

import json
import time
from collections.abc import Collection
from dataclasses import asdict, dataclass, replace

from service.core.ports import Store
from service.core.throttle import throttle

PAGE_USERS = 64  # claimed at a time, about
COUNT_PAGE_USERS = 1024
_PREFIX = "backfill:"
_FORMAT = 1
# A pass that found more users behind than this is followed by another one, up to the limit.
_MAX_BEHIND_PERCENT, _MAX_PASSES = 1, 4
# Time without progress after which no worker serves the model version any more.
_ABANDONED_AFTER_SECONDS = 86_400.0


@dataclass(frozen=True, slots=True)
class BackfillWork:
    """Amount of work done.

    Attributes:
        users: users whose log was read.
        behind: those of them who had no current snapshot.
        snapshots: snapshots written.
        events: events replayed.
    """

    users: int = 0
    behind: int = 0
    snapshots: int = 0
    events: int = 0

    def __add__(self, other: BackfillWork) -> BackfillWork:
        return BackfillWork(
            self.users + other.users,
            self.behind + other.behind,
            self.snapshots + other.snapshots,
            self.events + other.events,
        )


@dataclass(frozen=True, slots=True)
class Progress:
    """Progress of one backfill by all workers. Times are Unix seconds.

    Attributes:
        total_users: users counted at the start.
        started_at: when the backfill was started.
        updated_at: when the record was last written.
        ended_at: when the last pass ended; None while the backfill runs.
        pass_number: 1 for the first pass over the users.
        cursor: start of the next page; None if the pass has no more pages.
        claimed: users claimed in this pass.
        users: users processed in this pass.
        behind: users without a current snapshot in this pass.
        snapshots: snapshots written in all passes.
        events: events replayed in all passes.
    """

    total_users: int
    started_at: float
    updated_at: float
    ended_at: float | None = None
    pass_number: int = 1
    cursor: str | None = ""
    claimed: int = 0
    users: int = 0
    behind: int = 0
    snapshots: int = 0
    events: int = 0

    @property
    def fraction_done(self) -> float:
        """Fraction of the users processed in this pass; 1 at the end."""
        if self.ended_at is not None:
            return 1.0
        return min(1.0, self.users / self.total_users) if self.total_users else 0.0

    def with_work(self, work: BackfillWork, pass_number: int) -> Progress:
        """Add the work that a worker did in the given pass."""
        in_this_pass = work if pass_number == self.pass_number else BackfillWork()
        return replace(
            self,
            users=self.users + in_this_pass.users,
            behind=self.behind + in_this_pass.behind,
            snapshots=self.snapshots + work.snapshots,
            events=self.events + work.events,
        )

    def after_pass(self) -> Progress:
        """Return the start of the next pass, or the backfill's end."""
        complete = self.users >= self.claimed and 100 * self.behind <= _MAX_BEHIND_PERCENT * self.users
        if complete or self.pass_number >= _MAX_PASSES:
            return replace(self, ended_at=self.updated_at)
        return replace(self, pass_number=self.pass_number + 1, cursor="", claimed=0, users=0, behind=0)

    def encode(self) -> str:
        """Return the text of the record."""
        return json.dumps({"format": _FORMAT, **asdict(self)}, separators=(",", ":"))


def decode_progress(text: str | None) -> Progress | None:
    """Parse the record; return None if it is missing or unreadable."""
    try:
        entry = json.loads(text or "null")
        return Progress(**entry) if isinstance(entry, dict) and entry.pop("format", None) == _FORMAT else None
    except (TypeError, ValueError):
        return None


async def list_backfills(store: Store) -> dict[str, Progress]:
    """Return the backfills by model version, the last started first."""
    found = {
        name.removeprefix(_PREFIX): progress
        for name, text in (await store.records()).items()
        if name.startswith(_PREFIX) and (progress := decode_progress(text)) is not None
    }
    return dict(sorted(found.items(), key=lambda backfill: -backfill[1].started_at))


class BackfillProgressRecord:
    """One worker's access to the record of a model version.

    Every method raises `StoreUnavailable`.
    """

    def __init__(self, store: Store, version: str, *, claim_timeout_seconds: float, max_fraction: float) -> None:
        """Create the access without reading the record.

        Args:
            store: holds the record.
            version: the model version.
            claim_timeout_seconds: time without a change of the record after which claimed pages count as lost.
            max_fraction: fraction of the time that counting the users may take.
        """
        self._store = store
        self._name = _PREFIX + version
        self._claim_timeout_seconds = claim_timeout_seconds
        self._max_fraction = max_fraction
        self._pass_number = 1
        self._unreported = BackfillWork()
        self._last_text, self._unchanged_since = "", 0.0

    async def join(self, *, restart: bool, served: Collection[str]) -> Progress:
        """Start the backfill unless there is one; return its progress.

        Args:
            restart: start the backfill again if it has ended.
            served: the served versions. A start removes the records of other versions that ended or were abandoned.
        """
        while True:
            records = await self._store.records()
            text = records.get(self._name)
            found = decode_progress(text)
            if found is not None and (found.ended_at is None or not restart):
                return found
            now = time.time()
            started = Progress(await self._count_users(), now, now)
            if await self._store.compare_and_set(self._name, text, started.encode()):
                await self._remove_old(records, now, {self._name, *(_PREFIX + version for version in served)})
                return started

    def add_work(self, work: BackfillWork) -> None:
        """Keep the work until the next claim reports it."""
        self._unreported += work

    async def claim_page(self) -> tuple[list[str], Progress]:
        """Claim the next page of users, and report the work done.

        Returns:
            The users, and the progress. Without users, either the backfill has ended, or other workers still process
            the last pages.
        """
        while True:
            text = (await self._store.records()).get(self._name)
            before = decode_progress(text)
            if text is None or before is None:  # removed by a worker that does not serve this version
                return [], await self.join(restart=False, served=())
            after, page = await self._next_page(before.with_work(self._unreported, self._pass_number), text)
            if after == before:
                return [], before
            if await self._store.compare_and_set(self._name, text, after.encode()):
                self._unreported, self._pass_number = BackfillWork(), after.pass_number
                return page, after

    async def _next_page(self, progress: Progress, text: str) -> tuple[Progress, list[str]]:
        """Return the progress after the next claim, and the claimed users."""
        if progress.cursor is None and progress.ended_at is None and not self._has_active_claims(progress, text):
            progress = replace(progress, updated_at=time.time()).after_pass()
        if progress.cursor is None or progress.ended_at is not None:
            return progress, []
        page, following = await self._store.users(progress.cursor, PAGE_USERS)
        claimed = progress.claimed + len(page)
        return replace(progress, cursor=following or None, claimed=claimed, updated_at=time.time()), page

    def _has_active_claims(self, progress: Progress, text: str) -> bool:
        """Return whether other workers hold pages, and the record has changed lately."""
        if progress.users >= progress.claimed:
            return False
        if self._last_text != text:
            self._last_text, self._unchanged_since = text, time.monotonic()
        return time.monotonic() < self._unchanged_since + self._claim_timeout_seconds

    async def _count_users(self) -> int:
        total, cursor = 0, ""
        while True:
            started_at = time.monotonic()
            page, cursor = await self._store.users(cursor, COUNT_PAGE_USERS)
            total += len(page)
            if not cursor:
                return total
            await throttle(started_at, self._max_fraction)

    async def _remove_old(self, records: dict[str, str], now: float, kept: Collection[str]) -> None:
        for name, text in records.items():
            if name.startswith(_PREFIX) and name not in kept:
                old = decode_progress(text)
                if old is None or old.ended_at is not None or old.updated_at < now - _ABANDONED_AFTER_SECONDS:
                    await self._store.compare_and_set(name, text, None)
