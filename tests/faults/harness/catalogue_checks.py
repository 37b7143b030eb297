"""Checks of the catalogue, its answers and the workers' copies after faults."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np

from service.core.catalogue.catalogue import Catalogue
from service.core.catalogue.editing.known_definitions import KnownDefinitions
from service.core.catalogue.revisions import decode_revision
from service.core.catalogue_store import CATALOGUE_SHARDS, catalogue_shard
from service.core.errors import StoreUnavailable
from service.core.jobs.catalogue_sync import CatalogueSync
from service.observability.metrics import PrometheusMeter
from service.store.errors import StoreUnreachableError
from service.store.factory import open_store
from tests.faults.harness.catalogue_history import History, stored_changes
from tests.faults.harness.catalogue_states import NO_ENTRY, ItemState
from tests.faults.harness.catalogue_traffic import CONNECTIONS, CatalogueTraffic, Record
from tests.faults.harness.client import Client
from tests.faults.harness.oracle import CheckResult

NewCopy = tuple[str, Mapping[str, tuple[int, bool]], Collection[str]]
CONVERGENCE_SECONDS = 30.0  # on a busy machine; guarantees.md says a second


async def check_catalogue(traffic: CatalogueTraffic, result: CheckResult) -> History:
    """Check what a traffic, which has ended, wrote and was answered.

    Every acknowledged write is in the store, in order and once. Every answer holds exactly what its revision allows.
    All workers have what a new copy of the store has.

    Args:
        traffic: the traffic.
        result: receives the violations.
    """
    record = traffic.record
    assert not record.failures, record.failures[:3]
    history = History(await asyncio.to_thread(stored_changes, traffic.state_url), record.sent, traffic.items)
    _check_writes(record, history, result)
    for asked in record.asked:
        states = history.at(asked.revision)
        if states is None:
            continue
        expected = {
            item
            for item, state in states.items()
            if is_shown(state) and asked.question.passes(state, asked.evaluated_at)
        }
        if expected != asked.items:
            result.wrong_selections += 1
            difference = sorted(expected ^ asked.items)[:3]
            result.examples.append(f"{asked.question.body} at {asked.revision}: differs by {difference}")
    await _check_copies(traffic, history, result)
    return history


def is_shown(state: ItemState) -> bool:
    """Return whether an item may be in an answer without a filter."""
    return state.available and not state.deleted


def _check_writes(record: Record, history: History, result: CheckResult) -> None:
    result.lost_writes += record.lost
    for item, states in record.sent.items():
        stored = len(history.revisions.get(item, ()))
        result.lost_writes += max(0, record.acknowledged[item] - stored)
        result.repeated_writes += max(0, stored - len(states))
    for item, number, text in record.named:
        shard = catalogue_shard(item)
        revisions = history.revisions.get(item, ())
        is_there = number <= len(revisions)
        position = history.changes[shard][revisions[number - 1] - 1][0] if is_there else None
        if position is None or not decode_revision(text).is_at(shard, position):
            result.lost_writes += 1
            result.examples.append(f"write {number} of {item} is not at the revision that acknowledged it")


async def _check_copies(traffic: CatalogueTraffic, history: History, result: CheckResult) -> None:
    """Compare all workers with a new copy of the store."""
    revision, stored, shown = await _until_readable(traffic)
    last = {item: history.state(item, 1 << 60) for item in traffic.items}
    expected = {
        item: (state.number, state.available)
        for item, state in last.items()
        if state is not NO_ENTRY and not state.deleted
    }
    if stored != expected:
        result.lost_writes += 1
        result.examples.append(f"the store has other entries: {sorted(stored.items() ^ expected.items())[:3]}")
    deadline = time.monotonic() + CONVERGENCE_SECONDS
    for _ in range(CONNECTIONS):
        while problem := await _difference(traffic, revision, stored, shown):
            if time.monotonic() > deadline:
                result.diverged += 1
                result.examples.append(problem)
                return
            await asyncio.sleep(0.1)


async def _until_readable(traffic: CatalogueTraffic) -> NewCopy:
    """Read a new copy; try again while the store does not answer."""
    deadline = time.monotonic() + CONVERGENCE_SECONDS
    while True:
        try:
            return await _new_copy(traffic.state_url, traffic.items)
        except (StoreUnavailable, StoreUnreachableError):
            if time.monotonic() > deadline:
                raise
            await asyncio.sleep(0.2)


async def _new_copy(state_url: str, items: Sequence[str]) -> NewCopy:
    """Read the store as a starting worker does.

    Returns revision, number and availability of each entry, and the items that may be in an answer.
    """
    store = await open_store(state_url, 100_000)
    copy = Catalogue(CATALOGUE_SHARDS)
    known = KnownDefinitions(store.catalogue, copy.set_definitions)
    sync = CatalogueSync(store.catalogue, copy, known, PrometheusMeter().catalogue)
    await sync.start()
    found: dict[str, tuple[int, bool]] = {}
    cursor = ""
    while True:
        page = await copy.page(None, cursor, 1000)
        found |= {item.item_id: (int(item.attributes["number"]), item.available) for item in page.items}  # type: ignore[arg-type]
        cursor = page.cursor
        if not cursor:
            break
    await copy.add_model("all", items)
    allowed = await copy.allowed("all", None)
    mask = np.ones(len(items) + 1, np.bool_) if allowed is None else allowed.mask(len(items) + 1)
    shown = {item for item, is_allowed in zip(items, mask[1:], strict=True) if is_allowed}
    revision = copy.revision
    await sync.close()
    copy.close()
    await store.close()
    return revision, found, shown


async def _difference(
    traffic: CatalogueTraffic, revision: str, stored: Mapping[str, tuple[int, bool]], shown: Collection[str]
) -> str:
    """Return how a worker differs, asked over a new connection."""
    client = Client(traffic.url)
    try:
        status, page = await client.read("/items?limit=1000")
        if status != 200:
            return f"{status} {page}"
        entries = {item["item_id"]: (int(item["attributes"]["number"]), item["available"]) for item in page["items"]}
        body: dict[str, Any] = {"history": [], "k": len(traffic.items)}
        status, answer = await client.call("POST", "/recommendations", body)
    finally:
        client.close()
    if status != 200 or {page["catalogue_revision"], answer.get("catalogue_revision")} != {revision}:
        return f"{status}, {page['catalogue_revision']} is not {revision}"
    if entries != stored:
        return f"a worker has other entries: {sorted(stored.items() ^ entries.items())[:3]}"
    found = {item["item_id"] for item in answer["items"]}
    return "" if found == shown else f"a worker shows other items: {sorted(found.symmetric_difference(shown))[:3]}"
