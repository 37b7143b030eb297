"""The trainer reads Redis URLs as the service does."""

from __future__ import annotations

import pytest

from ingest.errors import DataError
from model.training.data.event_log import log_url
from service.store.redis import url as service_url
from tests.store.redis.test_url import INVALID_URLS, VALID_URLS


def test_schemes_are_those_of_the_service() -> None:
    assert log_url.SCHEMES == service_url.SCHEMES


@pytest.mark.parametrize("url", [url for url, _ in VALID_URLS])
def test_url_is_parsed_as_by_the_service(url: str) -> None:
    own, theirs = log_url.parse_url(url), service_url.parse_url(url)
    assert (own.kind, own.tls, own.service) == (theirs.kind, theirs.tls, theirs.service)
    assert own.options == theirs.options
    assert own.addresses == tuple((address.host, address.port) for address in theirs.addresses)
    assert "secret" not in own.name


@pytest.mark.parametrize(("url", "message"), INVALID_URLS)
def test_url_that_the_service_refuses_is_refused_without_its_password(url: str, message: str) -> None:
    with pytest.raises(DataError, match=message) as refusal:
        log_url.parse_url(url)
    assert "secret" not in str(refusal.value)


def test_name_has_the_servers_and_no_credentials() -> None:
    url = log_url.parse_url("rediss+sentinel://me:secret@a,b:5/primary/2?ssl_ca_certs=/ca.pem")
    assert url.name == "rediss+sentinel://a:26379,b:5/primary/2"
