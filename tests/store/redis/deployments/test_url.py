"""Parsing of Redis URLs."""

from __future__ import annotations

import pytest

from service.store.errors import StoreRefusedError
from service.store.redis.deployments.url import Address, Target, parse_url

VALID_URLS: list[tuple[str, Target]] = [
    ("redis://", Target("", (Address("localhost", 6379),), False, {"db": 0})),
    ("redis://h:1/3", Target("", (Address("h", 1),), False, {"db": 3})),
    (
        "rediss://me:p%40ss%2F@h?ssl_ca_certs=/ca.pem&ssl_check_hostname=no",
        Target(
            "",
            (Address("h", 6379),),
            True,
            {
                "db": 0,
                "username": "me",
                "password": "p@ss/",
                "ssl_ca_certs": "/ca.pem",
                "ssl_check_hostname": False,
            },
        ),
    ),
    ("redis://:secret@[::1]:7", Target("", (Address("::1", 7),), False, {"db": 0, "password": "secret"})),
    ("redis+cluster://a:1,b", Target("cluster", (Address("a", 1), Address("b", 6379)), False, {"db": 0})),
    ("rediss+cluster://a:1/0", Target("cluster", (Address("a", 1),), True, {"db": 0})),
    (
        "redis+sentinel://me:secret@a,b:5/my%20master/2",
        Target(
            "sentinel",
            (Address("a", 26379), Address("b", 5)),
            False,
            {"db": 2, "username": "me", "password": "secret"},
            "my master",
        ),
    ),
]
INVALID_URLS = [
    ("redis://:secret@a:1,b:2", "write redis://"),
    ("redis://:secret@a:port", "write redis://"),
    ("redis://:secret@a/1/2", "write redis://"),
    ("redis://:secret@a/-1", "write redis://"),
    ("redis+cluster://:secret@a/1", r"write redis\+cluster://"),
    ("redis+sentinel://:secret@a,b", r"write redis\+sentinel://"),
    ("redis+sentinel://:secret@a/name/db", r"write redis\+sentinel://"),
    ("redis://:secret@a?socket_timeout=5", "option that is not known"),
    ("rediss://:secret@a?decode_responses=true", "option that is not known"),
    ("redis://:secret@a?ssl_ca_certs=/ca.pem", "only with rediss"),
    ("redis://me:sec?secret@a", "only with rediss|malformed"),
    ("redis://host:port", "malformed"),
    ("redis://:secret@host:99999999", "malformed"),
]


@pytest.mark.parametrize(("url", "target"), VALID_URLS)
def test_valid_url_is_parsed(url: str, target: Target) -> None:
    assert parse_url(url) == target


def test_name_has_the_servers_and_no_credentials() -> None:
    url = parse_url("rediss+sentinel://me:secret@a,b:5/primary/2?ssl_ca_certs=/ca.pem")
    assert url.name == "rediss+sentinel://a:26379,b:5/primary/2"
    assert parse_url("redis+cluster://:secret@a:1,b").name == "redis+cluster://a:1,b:6379"


@pytest.mark.parametrize(("url", "message"), INVALID_URLS)
def test_invalid_url_is_refused_without_its_password(url: str, message: str) -> None:
    with pytest.raises(StoreRefusedError, match=message) as refusal:
        parse_url(url)
    assert "secret" not in str(refusal.value)
