"""API keys: entries of RECBLR_API_KEYS, their scopes, and new keys."""

from __future__ import annotations

import hashlib

import pytest

from service.api_keys import ALL_SCOPES, KeyScope, RetiredScopeError, digest_of, new_key, parse_key, parse_scopes

DIGEST = hashlib.sha256(b"a key of any form").hexdigest()


def test_plain_key_has_every_scope() -> None:
    key = parse_key("clear-key-of:length-20")
    assert key.scopes == ALL_SCOPES
    assert key.digest == digest_of(b"clear-key-of:length-20")


def test_entry_may_begin_with_the_name_of_its_key() -> None:
    assert parse_key(f"shop-2.eu=append:sha256:{DIGEST}").name == "shop-2.eu"
    assert parse_key(f"append:sha256:{DIGEST}", "key-7").name == "key-7"
    padded = parse_key("a-plain-key-with-padding==", "key-1")
    assert (padded.name, padded.scopes) == ("key-1", ALL_SCOPES)


def test_hashed_key_has_named_scopes() -> None:
    key = parse_key(f"read+append:sha256:{DIGEST.upper()}")
    assert key.scopes == {KeyScope.READ, KeyScope.APPEND}
    assert key.digest.hex() == DIGEST


@pytest.mark.parametrize(
    "entry",
    [
        "hunter2",
        "hunter2 with spaces in it",
        "hunter2-of-enough-length-\x7f",
        "hünter2-of-enough-length",
        "read:hunter2-of-enough-length",
        "write:hunter2-of-enough-length",
        "shop=read:hunter2-of-enough-length",
        f'shop"=read:sha256:{DIGEST}',
        f"=read:sha256:{DIGEST}",
        f"{'n' * 65}=read:sha256:{DIGEST}",
        f"hunter2:sha256:{DIGEST}",
        f"sha256:{DIGEST}",
        f"read:sha256:{DIGEST[1:]}",
        f"read+:sha256:{DIGEST}",
    ],
)
def test_invalid_entry_is_refused(entry: str) -> None:
    with pytest.raises(ValueError):
        parse_key(entry)


@pytest.mark.parametrize("entry", [f"write:sha256:{DIGEST}", f"read+write:sha256:{DIGEST}"])
def test_scope_write_is_refused_and_its_successors_are_named(entry: str) -> None:
    with pytest.raises(RetiredScopeError, match=r"append.*append\+read.*append\+erase"):
        parse_key(entry)
    with pytest.raises(RetiredScopeError):
        parse_scopes(entry.partition(":")[0])


def test_new_key_matches_its_entry() -> None:
    key, entry = new_key({KeyScope.READ, KeyScope.APPEND})
    assert entry.startswith("append+read:sha256:")
    known = parse_key(entry)
    assert known.digest == digest_of(key.encode())
    assert known.scopes == {KeyScope.READ, KeyScope.APPEND}


def test_new_keys_differ() -> None:
    assert new_key(ALL_SCOPES)[0] != new_key(ALL_SCOPES)[0]
