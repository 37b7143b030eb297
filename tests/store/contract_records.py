"""Contract of every store: shared records, and the list of users."""

from __future__ import annotations

from service.core.ports import Store
from tests.store.backends import Backend
from tests.store.calls import append, new


class RecordsContract:
    async def test_users_lists_every_user_once_or_more(self, store: Store) -> None:
        users = {f"user {n}" for n in range(50)} | {"", "a:user:b", "{3}:user:x", "Zoë", ">"}
        for user in users:
            await append(store, user, new("a"), new("b"))
        await append(store, "gone", new("a"))
        await store.delete_user("gone")
        for limit in (1, 7, 1000):
            found, cursor = await store.users("", limit)
            pages = 1
            while cursor:
                more, cursor = await store.users(cursor, limit)
                found += more
                pages += 1
                assert pages < 2000
            assert set(found) == users

    async def test_users_of_an_empty_store_is_empty(self, store: Store) -> None:
        assert await store.users("", 10) == ([], "")

    async def test_record_is_replaced_only_if_it_has_the_expected_text(self, store: Store, backend: Backend) -> None:
        other = await backend.open()
        assert await store.records() == {}
        assert await store.compare_and_set("a", None, "one")
        assert not await other.compare_and_set("a", None, "two")
        assert not await other.compare_and_set("a", "another", "two")
        assert await other.compare_and_set("a", "one", "zwei, drei ✓")
        assert await store.compare_and_set("b", None, "more")
        assert await store.records() == {"a": "zwei, drei ✓", "b": "more"}
        assert not await store.compare_and_set("a", "one", None)
        assert await store.compare_and_set("a", "zwei, drei ✓", None)
        assert await other.records() == {"b": "more"}
        await other.close()

    async def test_users_does_not_list_records(self, store: Store) -> None:
        await store.compare_and_set("user", None, "text")
        assert await store.users("", 10) == ([], "")
