"""Events from a stream: the same effect, exactly once, as if each had come over HTTP.

Only the worker that holds the lease reads, so that a user's events reach the log in the order of the stream. It takes
the entries that were read and never finished first (its own or those of a worker that died), then new ones, and
finishes an entry after its event is in the log. Between the two it may die: then the entry comes again, with the
same event_id, and is a duplicate. A worker that lost the lease without noticing can do no more harm than that: the
read itself is refused to it.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from service.core.errors import EventConflict, InvalidRequest, ServiceError, StoreUnavailable
from service.core.events import NewEvent
from service.core.log_throttle import ThrottledLogger
from service.core.recommending.results import Recorded

_log = logging.getLogger(__name__)
_outages = ThrottledLogger(_log)

BATCH = 256
STANDBY_SECONDS = 1.0  # between two attempts at the lease
IDLE_SECONDS = 0.05  # between two looks at a stream that had nothing new
LAG_SECONDS = 1.0
_SHORTEST_PAUSE, _LONGEST_PAUSE = 0.05, 2.0
_MOST_FAULTS = 5  # an event at which the service itself fails so often is put aside, or it would block the others

FIRST = "0-0"


@dataclass(frozen=True, slots=True)
class StreamEntry:
    """An entry of the stream as it was sent. Ids ascend, and begin with the milliseconds at which they were given."""

    entry_id: str
    fields: Mapping[bytes, bytes]


@dataclass(frozen=True, slots=True)
class RejectedEntry:
    """An entry that holds no event which the log takes, and why."""

    entry: StreamEntry
    reason: str


class LeaseLostError(Exception):
    """Another worker reads the stream now."""


class EventSource(Protocol):
    """A stream that a group of workers reads, one at a time. Every method raises `StoreUnavailable`."""

    async def acquire_lease(self) -> bool:
        """Take the lease if it is free; whether it is this worker's."""
        ...

    async def renew_lease(self) -> None:
        """Prolong the lease; raises `LeaseLostError`, as do the two methods that read."""
        ...

    async def read_pending(self, after: str, most: int) -> tuple[list[StreamEntry], str]:
        """Entries that were read and not finished, oldest first, from `after` on, and where to go on.

        `FIRST` says that there are no more. They are this worker's from now on, whoever read them.
        """
        ...

    async def read_new(self, most: int) -> list[StreamEntry]:
        """The next entries that nobody has read, oldest first; none if there are none now."""
        ...

    async def acknowledge(self, done: Sequence[StreamEntry], rejected: Sequence[RejectedEntry]) -> None:
        """These need not come again. The refused are kept aside, in the same step."""
        ...

    async def lag(self) -> int | None:
        """How many entries are not finished yet; None if it cannot be told."""
        ...

    async def release_lease(self) -> None:
        """Give the lease back if it is this worker's."""
        ...

    async def close(self) -> None:
        """Release connections."""
        ...


class StreamMeter(Protocol):
    """What a consumer reports."""

    def stream_entries(self, outcome: str, count: int) -> None:
        """So many entries were finished: as "recorded", "duplicate" or "refused"."""
        ...

    def stream_lag(self, entries: int | None) -> None:
        """So many are not finished; 0 while another worker reads."""
        ...


class StreamConsumer:
    """Reads `source` until it is closed.

    `parse` raises `InvalidRequest` for an entry that holds no event. `record` is `Recommender.record_batch`.
    """

    def __init__(
        self,
        source: EventSource,
        parse: Callable[[StreamEntry], tuple[str, NewEvent]],
        record: Callable[[Sequence[tuple[str, NewEvent]]], Awaitable[Sequence[Recorded | ServiceError]]],
        meter: StreamMeter,
    ) -> None:
        self._source = source
        self._parse = parse
        self._record = record
        self._meter = meter
        self._stopping = asyncio.Event()
        self._lag_due = 0.0
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin, in the background."""
        self._task = asyncio.create_task(self._run())

    async def close(self) -> None:
        """Return when the batch at hand is in the log and finished; another worker may go on at once."""
        self._stopping.set()
        if self._task is not None:
            await self._task
        try:
            await self._source.release_lease()
        except StoreUnavailable as error:
            _log.warning("the lease of the stream was not given back", extra={"reason": error.for_log})
        await self._source.close()

    async def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                if await self._source.acquire_lease():
                    await self._follow()
            except LeaseLostError:
                _log.warning("another worker has taken over the stream")
            except StoreUnavailable as error:
                _outages.warn(error.code, "the stream cannot be read", reason=error.for_log)
            except Exception:
                _log.exception("reading the stream failed")
            self._meter.stream_lag(0)
            await self._pause(STANDBY_SECONDS)

    async def _follow(self) -> None:
        _log.info("reading the stream")
        after = FIRST
        while not self._stopping.is_set():
            entries, after = await self._source.read_pending(after, BATCH)
            await self._handle(entries)
            if after == FIRST:
                break
        while not self._stopping.is_set():
            entries = await self._source.read_new(BATCH)
            await self._handle(entries)
            await self._report_lag()
            if not entries:
                await self._pause(IDLE_SECONDS)

    async def _handle(self, entries: Sequence[StreamEntry]) -> None:
        """Bring `entries` into the log and finish them; while the log is down they wait, and so does all behind."""
        faults, pause = 0, _SHORTEST_PAUSE
        while entries:
            outcomes = await self._outcomes(entries)
            faults += any(_is_fault(outcome) for _, outcome in outcomes)
            again = [entry for entry, outcome in outcomes if _comes_again(outcome, faults)]
            await self._finish([(e, outcome) for e, outcome in outcomes if not _comes_again(outcome, faults)])
            entries = again
            if not entries or self._stopping.is_set():
                return
            _outages.warn("stream_waits", "events of the stream wait for the log", entries=str(len(entries)))
            await self._pause(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)
            await self._source.renew_lease()

    async def _outcomes(self, entries: Sequence[StreamEntry]) -> list[tuple[StreamEntry, Recorded | ServiceError]]:
        """What became of each entry, in no particular order."""
        outcomes: list[tuple[StreamEntry, Recorded | ServiceError]] = []
        good: list[StreamEntry] = []
        events: list[tuple[str, NewEvent]] = []
        for entry in entries:
            try:
                events.append(self._parse(entry))
                good.append(entry)
            except InvalidRequest as error:
                outcomes.append((entry, error))
        if events:
            outcomes += zip(good, await self._record(events), strict=True)
        return outcomes

    async def _finish(self, outcomes: Sequence[tuple[StreamEntry, Recorded | ServiceError]]) -> None:
        done = [entry for entry, outcome in outcomes if isinstance(outcome, Recorded)]
        refused = [
            RejectedEntry(entry, _reason(outcome)) for entry, outcome in outcomes if isinstance(outcome, ServiceError)
        ]
        if not outcomes:
            return
        await self._source.acknowledge(done, refused)
        duplicates = sum(isinstance(outcome, Recorded) and outcome.duplicate for _, outcome in outcomes)
        self._meter.stream_entries("recorded", len(done) - duplicates)
        self._meter.stream_entries("duplicate", duplicates)
        self._meter.stream_entries("refused", len(refused))
        if refused:
            _outages.warn("entry_refused", "entries of the stream were put aside", first=refused[0].reason)

    async def _report_lag(self) -> None:
        if time.monotonic() >= self._lag_due:
            self._lag_due = time.monotonic() + LAG_SECONDS
            self._meter.stream_lag(await self._source.lag())

    async def _pause(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._stopping.wait()
        except TimeoutError:
            pass


def _is_final(outcome: Recorded | ServiceError) -> bool:
    return isinstance(outcome, Recorded | InvalidRequest | EventConflict)


def _is_fault(outcome: Recorded | ServiceError) -> bool:
    """The service's own, and perhaps this event's doing; other errors pass with time."""
    return type(outcome) is ServiceError


def _comes_again(outcome: Recorded | ServiceError, faults: int) -> bool:
    return not _is_final(outcome) and not (_is_fault(outcome) and faults >= _MOST_FAULTS)


def _reason(error: ServiceError) -> str:
    details = "; ".join(f"{detail['field']} {detail['problem']}" for detail in error.details or ())
    return f"{error.code}: {error.message}" + (f" ({details})" if details else "")
