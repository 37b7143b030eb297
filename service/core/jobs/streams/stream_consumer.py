"""Consumer of a stream: applies each of its entries once in effect.

An entry has the same effect as a request over HTTP. Only the worker that holds the lease reads, so that the entries
about one user or item are applied in the order of the stream (decision 0025).

The worker first processes entries that were read and never acknowledged, by itself or by a worker that died, and then
new ones. An entry is acknowledged after it was applied. If the worker dies in between, the entry is delivered again:
its event has the same `event_id` and is a duplicate, its item is stored like this already. A worker that has lost the
lease without noticing can cause no more than that, because its next read is refused.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Sequence
from typing import Protocol

from service.core.errors import EventConflict, InvalidRequest, ItemNotFound, ServiceError, StoreUnavailable
from service.core.jobs.streams.stream_source import (
    FIRST,
    EntryWriter,
    LeaseLostError,
    RejectedEntry,
    StreamEntry,
    StreamSource,
)
from service.core.log_throttle import ThrottledLogger

_log = logging.getLogger(__name__)

BATCH_ENTRIES = 256
STANDBY_SECONDS = 1.0  # between two attempts to acquire the lease
IDLE_SECONDS = 0.05  # between two reads of a stream without new entries
LAG_INTERVAL_SECONDS = 1.0
_MIN_RETRY_SECONDS, _MAX_RETRY_SECONDS = 0.05, 2.0
_MAX_INTERNAL_ERRORS = 5  # then the entry is rejected, because it would block the ones behind it

REFUSED = "refused"
_REFUSALS = (InvalidRequest, EventConflict, ItemNotFound)  # a retry would not help

# An entry, and its outcome in the metrics or the reason why it was not applied.
_Outcome = tuple[StreamEntry, str | ServiceError]


class StreamMeter(Protocol):
    """Metrics of the stream consumer."""

    def stream_entries(self, outcome: str, count: int) -> None:
        """Count acknowledged entries; `outcome` is the writer's, or `REFUSED`."""
        ...

    def stream_lag(self, entries: int | None) -> None:
        """Report how many entries are not acknowledged; 0 while another worker reads."""
        ...


class StreamConsumer:
    """Applies the entries of one stream until closed.

    `name` is the stream's, for log messages.
    """

    def __init__(self, name: str, source: StreamSource, writer: EntryWriter, meter: StreamMeter) -> None:
        self._name = name
        self._source = source
        self._writer = writer
        self._meter = meter
        self._outages = ThrottledLogger(_log)
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
            fields = {"stream": self._name, "reason": error.for_log}
            _log.warning("cannot release the lease of the stream", extra=fields)
        await self._source.close()

    async def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                if await self._source.acquire_lease():
                    await self._consume()
            except LeaseLostError:
                _log.warning("lost the lease of the stream to another worker", extra={"stream": self._name})
            except StoreUnavailable as error:
                self._outages.warn(error.code, "cannot read the stream", stream=self._name, reason=error.for_log)
            except Exception:
                _log.exception("cannot consume the stream", extra={"stream": self._name})
            self._meter.stream_lag(0)
            await self._pause(STANDBY_SECONDS)

    async def _consume(self) -> None:
        """Process pending entries, then new ones, while the lease is held."""
        _log.info("consuming the stream", extra={"stream": self._name})
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
        """Apply and acknowledge `entries`.

        During an outage of the store they are retried, and block the entries behind them.
        """
        internal_errors, pause_seconds = 0, _MIN_RETRY_SECONDS
        while entries:
            outcomes = list(zip(entries, await self._writer.write(entries), strict=True))
            internal_errors += any(_is_internal_error(result) for _, result in outcomes)
            retried = [entry for entry, result in outcomes if _is_retried(result, internal_errors)]
            await self._acknowledge([each for each in outcomes if not _is_retried(each[1], internal_errors)])
            entries = retried
            if not entries or self._stopping.is_set():
                return
            waiting = {"stream": self._name, "entries": str(len(entries))}
            self._outages.warn("stream_waits", "cannot apply entries of the stream; retrying", **waiting)
            await self._pause(pause_seconds)
            pause_seconds = min(2 * pause_seconds, _MAX_RETRY_SECONDS)
            await self._source.renew_lease()

    async def _acknowledge(self, outcomes: Sequence[_Outcome]) -> None:
        if not outcomes:
            return
        done = [entry for entry, result in outcomes if isinstance(result, str)]
        rejected = [
            RejectedEntry(entry, _rejection(result)) for entry, result in outcomes if isinstance(result, ServiceError)
        ]
        await self._source.acknowledge(done, rejected)
        counts = Counter(result if isinstance(result, str) else REFUSED for _, result in outcomes)
        for outcome, count in counts.items():
            self._meter.stream_entries(outcome, count)
        if rejected:
            first = {"stream": self._name, "first": rejected[0].reason}
            self._outages.warn("entry_refused", "moved entries to the dead-letter stream", **first)

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


def _is_internal_error(result: str | ServiceError) -> bool:
    """Return whether the service failed, perhaps because of this entry."""
    return type(result) is ServiceError


def _is_retried(result: str | ServiceError, internal_errors: int) -> bool:
    if isinstance(result, (str, *_REFUSALS)):
        return False
    return not (_is_internal_error(result) and internal_errors >= _MAX_INTERNAL_ERRORS)


def _rejection(error: ServiceError) -> str:
    details = "; ".join(f"{detail['field']} {detail['problem']}" for detail in error.details or ())
    return f"{error.code}: {error.message}" + (f" ({details})" if details else "")
