"""Revisions that belong to the store's history, and those that do not."""

from __future__ import annotations

from copy import deepcopy

import pytest

from service.core.catalogue.revision_history import RevisionGoneError, RevisionHistory
from service.core.catalogue.revisions import Revision, decode_revision, encode_revision
from service.core.catalogue_store import CATALOGUE_SHARDS, ItemWrite, ShardPosition
from service.core.errors import StoreUnavailable
from tests.core.jobs.catalogue_worker import IDS, fill
from tests.core.memory_catalogue import MemoryCatalogue

pytestmark = pytest.mark.anyio


async def positions(store: MemoryCatalogue) -> list[ShardPosition]:
    found = [position for position in await store.positions() if isinstance(position, ShardPosition)]
    assert len(found) == CATALOGUE_SHARDS + 1
    return found


async def revision(store: MemoryCatalogue) -> Revision:
    return decode_revision(encode_revision(await positions(store)))


async def refusal(store: MemoryCatalogue, asked: Revision, held: list[ShardPosition]) -> str:
    with pytest.raises(RevisionGoneError) as raised:
        await RevisionHistory(store).check(asked, held)
    return str(raised.value)


async def test_earlier_revision_of_the_same_history_is_accepted() -> None:
    store = MemoryCatalogue()
    revisions = [await revision(store)]
    for number in range(5):
        await fill(store, IDS[: number + 1], b"%d" % number)
        await store.set_filter("f", None if number == 0 else str(number - 1), str(number))
        revisions.append(await revision(store))
    held = await positions(store)
    for earlier in revisions:
        await RevisionHistory(store).check(earlier, held)


async def test_revision_that_a_failover_has_undone_is_refused() -> None:
    store = MemoryCatalogue()
    await fill(store, IDS[:5])
    replica = deepcopy(store._shards)
    await fill(store, IDS[5:8], b"undone")
    undone, held_before = await revision(store), await positions(store)
    store._shards = replica
    assert "undone changes" in await refusal(store, Revision([(0, b"")] * 17), held_before)
    assert "has not got the revision" in await refusal(store, undone, await positions(store))
    await fill(store, IDS[10:20])
    assert "undone the revision" in await refusal(store, undone, await positions(store))


async def test_revision_whose_changes_are_trimmed_is_refused() -> None:
    store = MemoryCatalogue()
    await fill(store, IDS[:5])
    old = await revision(store)
    store._changes_kept = 3
    await fill(store, IDS[5:15])
    assert "not kept any more" in await refusal(store, old, await positions(store))


async def test_revision_of_a_copy_that_caught_up_is_refused() -> None:
    store = MemoryCatalogue()
    await fill(store, IDS[:5])
    held = await positions(store)
    assert "many changes" in await refusal(store, decode_revision(encode_revision(held, {3})), held)
    assert "another number" in await refusal(store, Revision([(0, b"")] * 3), held)


async def test_changes_that_cannot_be_read_are_an_error_and_no_refusal() -> None:
    store = MemoryCatalogue()
    await fill(store, IDS[:5])
    old, _ = await revision(store), await store.write_items([ItemWrite(IDS[0], b"two")])
    held = await positions(store)
    store.down = {3}
    with pytest.raises(StoreUnavailable):
        await RevisionHistory(store).check(old, held)
