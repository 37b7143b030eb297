"""Reader of an event log in Redis."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import cast

import redis

from ingest.errors import DataError
from model.training.data.event_log.logged_event import EventLog, ItemRecord, LoggedEvent, Position, answer_of
from model.training.data.event_log.redis_servers import UNDECODABLE, RedisServers, connect
from service.store.redis.deployments.url import Target
from service.store.redis_errors import explain_fault
from service.store.tls_errors import find_tls_fault

REDIS_SHARDS = 64
CATALOGUE_SHARDS = 16
_STREAM_FORMAT = "1"
_ITEM_HEADER = struct.Struct("<Bd")  # format, revision
_ITEM_FORMAT = 1
_ITEMS_AT_ONCE = 256


@contextmanager
def open_redis_log(url: Target) -> Iterator[EventLog]:
    """Open the event log at a Redis URL; see `open_log`."""
    # The client library would try again for minutes, and lose the server's reason.
    if url.tls and (fault := find_tls_fault(url.addresses, url.options)):
        raise DataError(f"{url.name} cannot be read: {fault}")
    try:
        with closing(connect(url)) as servers:
            yield _RedisLog(servers, url.name)
    except (redis.RedisError, OSError) as error:
        raise DataError(f"{url.name} cannot be read: {explain_fault(error) or error}") from None


class _RedisLog:
    shards = REDIS_SHARDS

    def __init__(self, servers: RedisServers, name: str) -> None:
        self.name = name
        self._servers = servers

    def deletions(self, shard: int) -> int:
        key = f"{{{shard}}}:deletions"
        return int(cast(str | None, self._servers.run(key, "GET", key)) or 0)

    def newest(self, shard: int) -> Position:
        key = f"{{{shard}}}:stream"
        try:
            stream = cast(dict[str, str], self._servers.run(key, "XINFO STREAM", key))
        except redis.ResponseError as error:
            if "no such key" in str(error):
                return ()
            raise
        return _parse_stream_id(stream["last-generated-id"])

    def read(self, shard: int, after: Position, limit: int) -> tuple[list[LoggedEvent], Position]:
        key = f"{{{shard}}}:stream"
        start = "({}-{}".format(*after) if after else "-"
        reply = self._servers.run(key, "XRANGE", key, start, "+", "COUNT", limit)
        entries = cast(list[tuple[str, dict[str, str]]], reply)
        events = [_parse_entry(entry_id, fields) for entry_id, fields in entries]
        return events, _parse_stream_id(entries[-1][0]) if entries else after

    def items(self) -> Iterator[ItemRecord]:
        for shard in range(CATALOGUE_SHARDS):
            key, cursor = f"{{c{shard}}}:items", "0"
            while True:
                reply = self._servers.run(key, "HSCAN", key, cursor, "COUNT", _ITEMS_AT_ONCE)
                cursor, found = cast(tuple[str, dict[str, str]], reply)
                for item_id, value in found.items():
                    yield _parse_item(item_id, value.encode("utf-8", UNDECODABLE))
                if int(cursor) == 0:
                    break


def _parse_item(item_id: str, value: bytes) -> ItemRecord:
    if (found := _ITEM_HEADER.unpack_from(value)[0]) != _ITEM_FORMAT:
        raise DataError(f"an item of the catalogue has format {found}, but this release reads {_ITEM_FORMAT}")
    return ItemRecord(item_id, value[_ITEM_HEADER.size :])


def _parse_entry(entry_id: str, fields: dict[str, str]) -> LoggedEvent:
    if (found := fields.get("format")) != _STREAM_FORMAT:
        raise DataError(
            f"entry {entry_id} of the event log has format {found}, but this release reads {_STREAM_FORMAT}"
        )
    event_id = fields["event_id"] or f"seq-{fields['seq']}"
    arrived = _parse_stream_id(entry_id)[0] / 1000.0
    value = fields.get("value")
    return LoggedEvent(
        *(fields["user"], fields["item"], float(fields["ts"]), int(fields["seq"]), event_id, arrived),
        *(fields.get("type"), None if value is None else float(value), fields.get("recommendation")),
        *answer_of(fields.get("credit")),
    )


def _parse_stream_id(stream_id: str) -> Position:
    return tuple(int(part) for part in stream_id.split("-"))
