"""Every state of the catalogue, from the store's changes and the writes."""

from __future__ import annotations

import sqlite3
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from redis import Redis, RedisCluster, Sentinel

from service.core.catalogue.revisions import decode_revision
from service.core.catalogue_store import CATALOGUE_SHARDS, ShardPosition, catalogue_shard
from service.store.redis.layout import catalogue_keys
from tests.faults.harness.catalogue_states import NO_ENTRY, ItemState


@dataclass
class History:
    """States of all items, by revision.

    Args:
        changes: (position, item) of each change of each shard, in order.
        states: The states that were written to each item, in order.
        items: All items of the models.
    """

    changes: Sequence[Sequence[tuple[ShardPosition, str]]]
    states: Mapping[str, Sequence[ItemState]]
    items: Sequence[str]
    revisions: dict[str, list[int]] = field(init=False)  # of each item's changes
    unknown: int = 0  # revisions that were asked for and are not in this history

    def __post_init__(self) -> None:
        self.revisions = defaultdict(list)
        for shard in self.changes:
            for position, item in shard:
                self.revisions[item].append(position.revision)
        self._found: dict[str, Mapping[str, ItemState] | None] = {}

    def at(self, revision: str | None) -> Mapping[str, ItemState] | None:
        """Return the state of each item under a revision.

        None: a failover has undone the revision, or the worker was applying a part of the changes.
        """
        if revision is None:
            return dict.fromkeys(self.items, NO_ENTRY)
        if revision not in self._found:
            self._found[revision] = self._at(revision)
        found = self._found[revision]
        self.unknown += found is None
        return found

    def _at(self, revision: str) -> Mapping[str, ItemState] | None:
        decoded = decode_revision(revision)
        numbers = [number for number, _ in decoded.positions]
        for shard, changes in enumerate(self.changes):
            number = numbers[shard]
            if number and not (len(changes) >= number and decoded.is_at(shard, changes[number - 1][0])):
                return None
        if decoded.catching_up:
            return None
        return {item: self.state(item, numbers[catalogue_shard(item)]) for item in self.items}

    def state(self, item: str, revision: int) -> ItemState:
        """Return an item's state at a revision of its shard."""
        states = self.states[item]
        count = min(bisect_right(self.revisions.get(item, ()), revision), len(states))
        return states[count - 1] if count else NO_ENTRY


def stored_changes(state_url: str) -> list[list[tuple[ShardPosition, str]]]:
    """Read the changes of all shards; none may have been trimmed."""
    with closing(_connect(state_url)) as store:
        found = [list(_changes(store, shard)) for shard in range(CATALOGUE_SHARDS)]
    for shard in found:
        assert [position.revision for position, _ in shard] == list(range(1, len(shard) + 1))
    return found


def _connect(state_url: str) -> Any:
    kind, _, rest = state_url.partition("://")
    if kind == "sqlite":
        return sqlite3.connect(rest.removeprefix("/"))
    if kind == "redis":
        return Redis.from_url(state_url)
    hosts = [(host, int(port)) for host, port in (each.split(":") for each in urlsplit(state_url).netloc.split(","))]
    if kind == "redis+cluster":
        return RedisCluster(host=hosts[0][0], port=hosts[0][1])
    return Sentinel(hosts).master_for(urlsplit(state_url).path.removeprefix("/"))


def _changes(store: Any, shard: int) -> Iterator[tuple[ShardPosition, str]]:
    if isinstance(store, sqlite3.Connection):
        query = "SELECT revision, token, name FROM catalogue_changes WHERE shard = ? ORDER BY revision"
        for revision, token, name in store.execute(query, (shard,)):
            yield ShardPosition(revision, token), name
        return
    for entry, fields in store.xrange(catalogue_keys(shard)[1]):
        revision = int(entry.partition(b"-")[0])
        yield ShardPosition(revision, fields[b"token"].decode()), fields[b"name"].decode()
