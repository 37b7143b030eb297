"""Snapshots of users' states with a checksum, and their writer.

The state inside is opaque here; `model/state_layout.py` describes its bytes. A lost snapshot costs a longer replay,
never an event.
"""

from __future__ import annotations

import asyncio
import logging
import struct
import zlib
from collections.abc import Mapping, Sequence
from contextlib import suppress
from contextvars import Context
from types import MappingProxyType
from typing import Literal, NamedTuple, Protocol

from service.core.errors import ServiceError, SnapshotDamagedError
from service.core.event_types.exclusions import Exclusions
from service.core.events import LogView, SnapshotPut
from service.core.new_items.held_vectors import HeldVectors
from service.core.new_items.vector_mark import MARK_PART, UNMARKED, VectorMark, decode_mark, encode_mark, is_better
from service.core.ports import Engine, Store
from service.core.recommending.log_replay.exclusion_bytes import decode_exclusions, encode_exclusions

_log = logging.getLogger(__name__)

# Pending events after which a new snapshot is written. Replaying one more event costs an answer less than storing
# 3 KB costs Redis; with 3 or 4 the replays cost as much as the writes save.
EVENTS_PER_SNAPSHOT = 2

MAX_SNAPSHOT_BATCH = 32  # written at once, in some 1 ms of Redis

_FORMAT = 1
_EXCLUSIONS = 1  # in the second byte: exclusions follow the header, and a mark if it has MARK_PART too
_HEADER = struct.Struct("<BBxxIQQ")  # format, what follows, CRC-32, applied, base


class Snapshot(NamedTuple):
    """A state after replaying the log from `base` to `applied`.

    Both are sequences: the first event replayed is the one after `base`.

    `base` is the newest sequence that retention had removed when the replay began. While it equals the log's, the
    snapshot reflects exactly the kept events, and an audit can demand equality.

    `excluded` are the items that the events exclude. It is None if none of them had a type, and then the snapshot is
    stored as releases without types do.

    `mark` names the vectors of new items that the replay had. Only models with a content encoder have one.
    """

    applied: int
    base: int
    state: bytes
    excluded: Exclusions | None = None
    mark: VectorMark | None = None


def encode_snapshot(snapshot: Snapshot, user_id: str, model_version: str) -> bytes:
    """Encode a snapshot, bound to this user and model by its checksum."""
    applied, base, body, excluded, mark = snapshot
    parts = 0
    if excluded is not None:
        parts, body = _EXCLUSIONS, encode_exclusions(excluded) + body
    if mark is not None:
        parts, body = parts | MARK_PART, encode_mark(mark) + body
    # User and model are part of the sum, so that a snapshot under another user's key counts as damaged.
    identity = f"{user_id}\0{model_version}\0{applied}\0{base}\0".encode()
    return _HEADER.pack(_FORMAT, parts, zlib.crc32(body, zlib.crc32(identity)), applied, base) + body


def decode_snapshot(blob: bytes, user_id: str, model_version: str) -> Snapshot:
    """Decode and verify a snapshot; raises `SnapshotDamagedError`."""
    if len(blob) < _HEADER.size:
        raise SnapshotDamagedError("shorter than its header")
    layout, parts, _, applied, base = _HEADER.unpack_from(blob)
    if layout != _FORMAT:
        raise SnapshotDamagedError(f"format {layout} is not {_FORMAT}")
    excluded, mark, start = None, None, _HEADER.size
    if parts & MARK_PART:
        mark, start = _decode_mark(blob, start)
    if parts & _EXCLUSIONS:
        excluded, start = decode_exclusions(blob, start)
    snapshot = Snapshot(applied, base, blob[start:], excluded, mark)
    if encode_snapshot(snapshot, user_id, model_version) != blob:
        raise SnapshotDamagedError("checksum differs")
    return snapshot


def _decode_mark(blob: bytes, start: int) -> tuple[VectorMark, int]:
    try:
        return decode_mark(blob, start)
    except (struct.error, ValueError):
        raise SnapshotDamagedError("its vector mark cannot be read") from None


def mark_of(snapshot: Snapshot | None) -> VectorMark | None:
    """Return the mark of a snapshot of a model with an encoder."""
    return None if snapshot is None else snapshot.mark or UNMARKED


def snapshot_due(view: LogView) -> bool:
    """Return whether to write a snapshot after replaying the pending events.

    A user's first snapshot is written after the first event.
    """
    return len(view.pending) >= (1 if view.snapshot is None else EVENTS_PER_SNAPSHOT)


class NewItems(Protocol):
    """Vectors of new items: `core.jobs.new_items.vector_sync.VectorSync`."""

    @property
    def lists(self) -> Mapping[str, HeldVectors]:
        """The vectors by version of the models with an encoder."""
        ...

    def held(self, engine: Engine) -> HeldVectors | None:
        """Return the vectors of a model with an encoder, else None."""
        ...

    async def prepare(
        self, engine: Engine, mark: VectorMark | None, item_ids: Sequence[str]
    ) -> Literal["usable", "outdated", "undone"]:
        """Catch up if needed; return whether the snapshot is usable."""
        ...


class NoNewItems:
    """No model has a content encoder."""

    lists: Mapping[str, HeldVectors] = MappingProxyType({})

    def held(self, engine: Engine) -> HeldVectors | None:
        """Return None."""
        return None

    async def prepare(
        self, engine: Engine, mark: VectorMark | None, item_ids: Sequence[str]
    ) -> Literal["usable", "outdated", "undone"]:
        """Use each snapshot as it is."""
        return "usable"


class SnapshotWriter:
    """Queues the newest snapshot of each user and writes them in batches.

    Args:
        store: Where snapshots are written to.
        max_queue: Queued users; beyond them new snapshots are dropped.
        max_batch: Snapshots in one store round trip.
        delay_seconds: Time a snapshot stays queued, so that a round trip carries many and the user's next event
            may replace it.
    """

    def __init__(
        self, store: Store, *, max_queue: int, max_batch: int = MAX_SNAPSHOT_BATCH, delay_seconds: float = 0.0
    ) -> None:
        self._store = store
        self._max_queue = max_queue
        self._max_batch = max_batch
        self._delay_seconds = delay_seconds
        self._closing = asyncio.Event()
        self._queue: dict[tuple[str, str], SnapshotPut] = {}
        self._writing: asyncio.Task[None] | None = None

    def offer(self, put: SnapshotPut) -> None:
        """Queue a snapshot, unless a longer one of the log is queued."""
        key = (put.user_id, put.model_version)
        queued = self._queue.get(key)
        if queued is None and len(self._queue) >= self._max_queue:
            return
        if queued is not None and queued.generation == put.generation:
            newest = queued if is_better(queued.blob, queued.applied, put.blob, put.applied) else put
            # A repair stays one until it is written, or the damaged snapshot could refuse its successor.
            put = newest._replace(repair=queued.repair or put.repair)
        self._queue[key] = put
        if self._writing is None:
            # An empty context: the writes serve many requests, so their logs must not carry one's request id.
            self._writing = asyncio.create_task(self._write_queued(), context=Context())

    async def close(self) -> None:
        """Try to write every queued snapshot, without the delay."""
        self._closing.set()
        while self._writing is not None:
            await self._writing

    async def _write_queued(self) -> None:
        try:
            while self._queue:
                if len(self._queue) < self._max_batch and not self._closing.is_set():
                    with suppress(TimeoutError):
                        await asyncio.wait_for(self._closing.wait(), self._delay_seconds)
                keys = list(self._queue)[: self._max_batch]
                puts = [self._queue.pop(key) for key in keys]
                try:
                    await self._store.put_snapshots(puts)
                except ServiceError as error:
                    _log.warning("cannot write snapshots", extra={"count": len(puts), "reason": error.for_log})
                except Exception:
                    # A fault must neither end the writer nor make close() fail: snapshots can be computed again.
                    _log.exception("cannot write snapshots", extra={"count": len(puts)})
        finally:
            self._writing = None
