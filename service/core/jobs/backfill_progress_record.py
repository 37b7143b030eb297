"""Where the rebuild of one model's memos stands: a note in the store, which the workers move on together.

The note holds a cursor into the store's users. To move it by compare-and-swap is to claim the page in between, so
each page has one worker, however many there are, and a dead one need not be replaced. What it had claimed is missing
in the count of users looked at; then all are walked through once more, which is cheap, for whoever has a current memo
is passed over.
"""

from __future__ import annotations

import json
import time
from collections.abc import Collection
from dataclasses import asdict, dataclass, replace

from service.core.ports import Store
from service.core.throttle import throttle

PAGE = 64  # users that are claimed at a time, about
COUNT_PAGE = 1024
_PREFIX = "rebuild:"
# A walk that found more than one user in so many to be behind is not the last, unless there were so many walks.
_FEW, _MOST_WALKS = 100, 4
# Seconds. A rebuild that has stood still for so long is of a model that nobody serves.
_FORGOTTEN = 86_400.0


@dataclass(frozen=True, slots=True)
class BackfillWork:
    """Users looked at, those of them who had no current memo, memos written for them and events folded."""

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
    """A rebuild of all workers. Times are Unix seconds.

    total: users counted at its begin; walk: 1, 2, …; claimed, users, behind: of this walk; memos, events: of all;
    cursor: where the next page begins, None where the walk has no more; moved: when the note was last written.
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
        """How much of the users this walk has looked at; 1 when nothing is left to do."""
        if self.ended_at is not None:
            return 1.0
        return min(1.0, self.users / self.total_users) if self.total_users else 0.0

    def plus(self, work: BackfillWork, walk: int) -> Progress:
        """With the work of a worker, which it did in `walk`."""
        looked = work if walk == self.pass_number else BackfillWork()
        return replace(
            self,
            users=self.users + looked.users,
            behind=self.behind + looked.behind,
            snapshots=self.snapshots + work.snapshots,
            events=self.events + work.events,
        )

    def over(self) -> Progress:
        """After a walk: the next one, or the end."""
        nothing_missed = self.users >= self.claimed and self.behind * _FEW <= self.users
        if nothing_missed or self.pass_number >= _MOST_WALKS:
            return replace(self, ended_at=self.updated_at)
        return replace(self, pass_number=self.pass_number + 1, cursor="", claimed=0, users=0, behind=0)


async def list_backfills(store: Store) -> dict[str, Progress]:
    """By model version, the one begun last first."""
    found = {
        name.removeprefix(_PREFIX): progress
        for name, text in (await store.records()).items()
        if name.startswith(_PREFIX) and (progress := _read(text)) is not None
    }
    return dict(sorted(found.items(), key=lambda rebuild: -rebuild[1].started_at))


class BackfillProgressRecord:
    """One worker's hand on the note of a model version. Every method raises `StoreUnavailable`."""

    def __init__(self, store: Store, version: str, patience: float, share: float) -> None:
        """`patience`: seconds for which the others may be silent about the pages that they hold.

        Counting takes `share` of the time at most.
        """
        self._store = store
        self._name = _PREFIX + version
        self._timeouts = patience
        self._share = share
        self._walk = 1
        self._work = BackfillWork()
        self._silent: tuple[str, float] = ("", 0.0)

    async def open(self, *, again: bool, serving: Collection[str]) -> Progress:
        """Join the rebuild, or begin it if there is none, or, with `again`, if it has ended.

        To begin one forgets those that have ended or were forgotten, but for the versions that are `serving`.
        """
        while True:
            notes = await self._store.records()
            text = notes.get(self._name)
            found = _read(text)
            if found is not None and (found.ended_at is None or not again):
                return found
            now = time.time()
            fresh = Progress(await self._count(), now, now)
            if await self._store.compare_and_set(self._name, text, _text(fresh)):
                await self._forget(notes, now, {self._name, *(_PREFIX + version for version in serving)})
                return fresh

    def did(self, work: BackfillWork) -> None:
        """Remember it until the next claim, which tells the others."""
        self._work += work

    async def claim(self) -> tuple[list[str], Progress]:
        """The next users to look at, perhaps none for now; and where the rebuild stands, perhaps at its end."""
        while True:
            text = (await self._store.records()).get(self._name)
            before = _read(text)
            if text is None or before is None:  # a worker that does not serve this model took it for forgotten
                return [], await self.open(again=False, serving=())
            after, page = await self._next(before.plus(self._work, self._walk), text)
            if after == before:
                return [], before
            if await self._store.compare_and_set(self._name, text, _text(after)):
                self._work, self._walk = BackfillWork(), after.pass_number
                return page, after

    async def _next(self, progress: Progress, text: str) -> tuple[Progress, list[str]]:
        if progress.cursor is None and progress.ended_at is None and not self._others_busy(progress, text):
            progress = replace(progress, updated_at=time.time()).over()
        if progress.cursor is None or progress.ended_at is not None:
            return progress, []
        page, following = await self._store.users(progress.cursor, PAGE)
        claimed = progress.claimed + len(page)
        return replace(progress, cursor=following or None, claimed=claimed, updated_at=time.time()), page

    def _others_busy(self, progress: Progress, text: str) -> bool:
        """Whether there are pages that others hold, and something was heard of these lately."""
        if progress.users >= progress.claimed:
            return False
        if self._silent[0] != text:
            self._silent = (text, time.monotonic())
        return time.monotonic() < self._silent[1] + self._timeouts

    async def _count(self) -> int:
        total, cursor = 0, ""
        while True:
            began = time.monotonic()
            page, cursor = await self._store.users(cursor, COUNT_PAGE)
            total += len(page)
            if not cursor:
                return total
            await throttle(began, self._share)

    async def _forget(self, notes: dict[str, str], now: float, but: Collection[str]) -> None:
        for name, text in notes.items():
            if name.startswith(_PREFIX) and name not in but:
                old = _read(text)
                if old is None or old.ended_at is not None or old.updated_at < now - _FORGOTTEN:
                    await self._store.compare_and_set(name, text, None)


def _text(progress: Progress) -> str:
    return json.dumps(asdict(progress), separators=(",", ":"))


def _read(text: str | None) -> Progress | None:
    """The note's progress; None without one, and where another release wrote it otherwise: then all begins anew."""
    try:
        return None if text is None else Progress(**json.loads(text))
    except (TypeError, ValueError):
        return None
