"""Settings that are parsed from text."""

from __future__ import annotations

import pytest
from pydantic import SecretStr, TypeAdapter, ValidationError

from service.api_keys import parse_key
from service.setting_types import ApiKeyList, OriginList, SigningKey, StateUrl, StreamAddress, StreamUrl

STREAM_URL: TypeAdapter[StreamAddress | None] = TypeAdapter(StreamUrl)


def test_stream_url_is_split_into_stream_group_and_connection() -> None:
    address = STREAM_URL.validate_python("rediss://user:hunter2@db:6380/1?stream=clicks&group=shop")
    assert address == StreamAddress(SecretStr("rediss://user:hunter2@db:6380/1"), "clicks", "shop")
    assert "hunter2" not in repr(address)


def test_stream_url_has_default_group_and_keeps_tls_options() -> None:
    address = STREAM_URL.validate_python("rediss://db?stream=clicks&ssl_ca_certs=/ca.pem")
    assert address == StreamAddress(SecretStr("rediss://db?ssl_ca_certs=%2Fca.pem"), "clicks", "recblr")


def test_lists_ignore_spaces_and_empty_entries() -> None:
    keys = "first-key-of-length-20 , second-key-of-length,"
    assert TypeAdapter(ApiKeyList).validate_python(keys) == (
        parse_key("first-key-of-length-20", "key-1"),
        parse_key("second-key-of-length", "key-2"),
    )
    assert TypeAdapter(OriginList).validate_python(" https://shop.example,") == ("https://shop.example",)


@pytest.mark.parametrize("scheme", ["sqlite:///", "redis://", "rediss+sentinel://", "redis+cluster://"])
def test_state_url_accepts_known_schemes(scheme: str) -> None:
    assert TypeAdapter(StateUrl).validate_python(f"{scheme}x").get_secret_value() == f"{scheme}x"


@pytest.mark.parametrize("key", ["k" * 31, "k" * 513, "k" * 31 + " ", "k" * 31 + "é"])
def test_signing_key_of_wrong_length_or_characters_is_refused(key: str) -> None:
    with pytest.raises(ValidationError):
        TypeAdapter(SigningKey).validate_python(key)
