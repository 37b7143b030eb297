"""Consumer of a stream: appends each of its events exactly once.

An event has the same effect as one that arrived over HTTP. Only the worker that holds the lease reads, so that a
user's events are appended in the order of the stream (decision 0025).

The worker first processes entries that were read and never acknowledged, by itself or by a worker that died, and then
new ones. An entry is acknowledged after its event is in the log. If the worker dies in between, the entry is
delivered again with the same `event_id`, and is a duplicate. A worker that has lost the lease without noticing can
cause no more than duplicates, because its next read is refused.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence
from typing import Protocol

from service.core.errors import EventConflict, InvalidRequest, ServiceError, StoreUnavailable
from service.core.events import NewEvent
from service.core.jobs.event_source import (
    FIRST,
    EntryParser,
    EventSource,
    LeaseLostError,
    RejectedEntry,
    StreamEntry,
)
from service.core.log_throttle import ThrottledLogger
from service.core.recommending.recommender import Recommender
from service.core.recommending.results import Recorded

_log = logging.getLogger(__name__)
_outages = ThrottledLogger(_log)

BATCH_ENTRIES = 256
STANDBY_SECONDS = 1.0  # between two attempts to acquire the lease
IDLE_SECONDS = 0.05  # between two reads of a stream without new entries
LAG_INTERVAL_SECONDS = 1.0
_MIN_RETRY_SECONDS, _MAX_RETRY_SECONDS = 0.05, 2.0
_MAX_INTERNAL_ERRORS = 5  # then the entry is rejected, because it would block the ones behind it

# An entry, and the result of its event or the reason why there is none.
_Outcome = tuple[StreamEntry, Recorded | ServiceError]


class StreamMeter(Protocol):
    """Metrics of the stream consumer."""

    def stream_entries(self, outcome: str, count: int) -> None:
        """Count acknowledged entries; `outcome` is "recorded", "duplicate" or "refused"."""
        ...

    def stream_lag(self, entries: int | None) -> None:
        """Report how many entries are not acknowledged; 0 while another worker reads."""
        ...


class StreamConsumer:
    """Appends the events of one stream to the log until closed."""

    def __init__(
        self, source: EventSource, parser: EntryParser, recommender: Recommender, meter: StreamMeter
    ) -> None:
        self._source = source
        self._parser = parser
        self._recommender = recommender
        self._meter = meter
        self._stopping = asyncio.Event()
        self._next_lag_at = 0.0
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Start to consume in the background."""
        self._task = asyncio.create_task(self._run())

    async def close(self) -> None:
        """Stop after the current batch is acknowledged, and release the lease."""
        self._stopping.set()
        if self._task is not None:
            await self._task
        try:
            await self._source.release_lease()
        except StoreUnavailable as error:
            _log.warning("cannot release the lease of the stream", extra={"reason": error.for_log})
        await self._source.close()

    async def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                if await self._source.acquire_lease():
                    await self._consume()
            except LeaseLostError:
                _log.warning("lost the lease of the stream to another worker")
            except StoreUnavailable as error:
                _outages.warn(error.code, "cannot read the stream", reason=error.for_log)
            except Exception:
                _log.exception("cannot consume the stream")
            self._meter.stream_lag(0)
            await self._pause(STANDBY_SECONDS)

    async def _consume(self) -> None:
        """Process pending entries, then new ones, while the lease is held."""
        _log.info("consuming the stream")
        after = FIRST
        while not self._stopping.is_set():
            entries, after = await self._source.read_pending(after, BATCH_ENTRIES)
            await self._process(entries)
            if after == FIRST:
                break
        while not self._stopping.is_set():
            entries = await self._source.read_new(BATCH_ENTRIES)
            await self._process(entries)
            await self._report_lag()
            if not entries:
                await self._pause(IDLE_SECONDS)

    async def _process(self, entries: Sequence[StreamEntry]) -> None:
        """Append and acknowledge `entries`.

        During an outage of the log they are retried, and block the entries behind them.
        """
        internal_errors, pause_seconds = 0, _MIN_RETRY_SECONDS
        while entries:
            outcomes = await self._append(entries)
            internal_errors += any(_is_internal_error(result) for _, result in outcomes)
            retried = [entry for entry, result in outcomes if _is_retried(result, internal_errors)]
            await self._acknowledge([each for each in outcomes if not _is_retried(each[1], internal_errors)])
            entries = retried
            if not entries or self._stopping.is_set():
                return
            _outages.warn("stream_waits", "cannot append events of the stream; retrying", entries=str(len(entries)))
            await self._pause(pause_seconds)
            pause_seconds = min(2 * pause_seconds, _MAX_RETRY_SECONDS)
            await self._source.renew_lease()

    async def _append(self, entries: Sequence[StreamEntry]) -> list[_Outcome]:
        """Append the events of `entries`; return their outcomes in any order."""
        outcomes: list[_Outcome] = []
        parsed: list[StreamEntry] = []
        events: list[tuple[str, NewEvent]] = []
        for entry in entries:
            try:
                events.append(self._parser.parse(entry))
                parsed.append(entry)
            except InvalidRequest as error:
                outcomes.append((entry, error))
        if events:
            outcomes += zip(parsed, await self._recommender.record_batch(events), strict=True)
        return outcomes

    async def _acknowledge(self, outcomes: Sequence[_Outcome]) -> None:
        if not outcomes:
            return
        done = [entry for entry, result in outcomes if isinstance(result, Recorded)]
        rejected = [
            RejectedEntry(entry, _rejection(result)) for entry, result in outcomes if isinstance(result, ServiceError)
        ]
        await self._source.acknowledge(done, rejected)
        duplicates = sum(isinstance(result, Recorded) and result.duplicate for _, result in outcomes)
        self._meter.stream_entries("recorded", len(done) - duplicates)
        self._meter.stream_entries("duplicate", duplicates)
        self._meter.stream_entries("refused", len(rejected))
        if rejected:
            _outages.warn("entry_refused", "moved entries to the dead-letter stream", first=rejected[0].reason)

    async def _report_lag(self) -> None:
        if time.monotonic() >= self._next_lag_at:
            self._next_lag_at = time.monotonic() + LAG_INTERVAL_SECONDS
            self._meter.stream_lag(await self._source.lag())

    async def _pause(self, seconds: float) -> None:
        """Sleep, or return at once when the consumer is being closed."""
        try:
            async with asyncio.timeout(seconds):
                await self._stopping.wait()
        except TimeoutError:
            pass


def _is_internal_error(result: Recorded | ServiceError) -> bool:
    """Return whether the service failed, perhaps because of this event."""
    return type(result) is ServiceError


def _is_retried(result: Recorded | ServiceError, internal_errors: int) -> bool:
    if isinstance(result, Recorded | InvalidRequest | EventConflict):
        return False
    return not (_is_internal_error(result) and internal_errors >= _MAX_INTERNAL_ERRORS)


def _rejection(error: ServiceError) -> str:
    details = "; ".join(f"{detail['field']} {detail['problem']}" for detail in error.details or ())
    return f"{error.code}: {error.message}" + (f" ({details})" if details else "")
