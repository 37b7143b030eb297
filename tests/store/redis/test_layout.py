"""Keys of the event log."""

from __future__ import annotations

import pytest
from redis.crc import key_slot

from service.store.redis import layout

USERS = ["u", "", "{x}", "}{", "{}", "a:b", "{3}:user:x", "Zoë", "🙂"]


@pytest.mark.parametrize("user_id", USERS)
def test_keys_of_a_user_share_a_slot(user_id: str) -> None:
    keys = (
        *layout.keys(user_id),
        layout.deletions_key(user_id),
        layout.detached_key(user_id),
        layout.token_key(user_id),
    )
    assert len(set(keys)) == 6
    assert len({key_slot(key.encode()) for key in keys}) == 1


@pytest.mark.parametrize("user_id", USERS)
def test_user_of_recognises_only_the_key_of_the_users_hash(user_id: str) -> None:
    own, *others = layout.keys(user_id)
    assert layout.user_of(own.encode()) == user_id
    assert [layout.user_of(key.encode()) for key in others] == [None, None]


def test_log_of_a_user_whose_id_looks_like_a_key_is_no_user() -> None:
    log = next(key for n in range(1000) if (key := layout.keys(f"x:user:{n}")[1]).count(":user:") == 1)
    assert layout.user_of(log.encode()) is None


def test_token_key_does_not_name_the_user() -> None:
    assert "some-user" not in layout.token_key("some-user")


def test_detached_keys_cover_all_shards() -> None:
    keys = layout.detached_keys()
    assert len(keys) == layout.SHARDS
    assert {layout.detached_key(f"u{n}") for n in range(2000)} == set(keys)
