"""Settings: defaults, valid values, and one sentence for each wrong value."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from pydantic import SecretStr, ValidationError

from service.api_keys import parse_key
from service.setting_types import StreamAddress
from service.settings import SettingsError, load_settings

KEYS = "first-key-of-length-20,second-key-of-length"


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("RECBLR_"):
            monkeypatch.delenv(name)


def test_empty_environment_gives_defaults() -> None:
    settings = load_settings()
    assert (settings.host, settings.port, settings.workers, settings.events_kept) == ("127.0.0.1", 8000, 1, 1000)
    assert settings.state_url.get_secret_value() == "sqlite:///recblr.db"
    assert settings.api_keys == ()


def test_every_kind_of_setting_is_read_from_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "HOST": "0.0.0.0",
        "PORT": "80",
        "STATE_URL": "rediss+sentinel://:pass@a,b/db",
        "REDIS_WAIT": "1",
        "BUNDLE": "/models",
        "WORKERS": "2",
        "API_KEYS": f" {KEYS.replace(',', ' , ')} ,",
        "DEVICE": "cuda",
        "LOG_LEVEL": "debug",
        "EVENTS_KEPT": "10",
        "MIN_RECALL": "0.95",
        "ACCURACY_SAMPLE": "0.25",
        "BUNDLE_KEY": "bundle-key-" * 4,
        "ID_KEYS": f"{'n' * 32}, {'o' * 32}",
        "REQUESTS_PER_SECOND": "50",
        "ALLOWED_HOSTS": "recommender, shop.internal",
        "OPEN_TO_NETWORK": "true",
        "ROOT_PATH": "/shop/recommender-1.0",
        "CORS_ORIGINS": "https://shop.example, http://localhost:3000,http://[::1]:8080",
    }.items():
        monkeypatch.setenv(f"RECBLR_{name}", value)
    settings = load_settings()
    assert settings.api_keys == tuple(map(parse_key, KEYS.split(","), ("key-1", "key-2")))
    assert settings.bundle == Path("/models")
    assert settings.requests_per_second == 50
    assert settings.attribution_rules() == ([b"n" * 32, b"o" * 32], 7, 1, "purchase")
    assert settings.min_recall == 0.95
    assert settings.allowed_hosts == ("recommender", "shop.internal")
    assert settings.open_to_network
    assert settings.root_path == "/shop/recommender-1.0"
    assert settings.accuracy_sample == 0.25
    assert settings.cors_origins == ("https://shop.example", "http://localhost:3000", "http://[::1]:8080")
    for secret in ("pass", "first-key", "second-key", "bundle-key"):
        assert secret not in repr(settings)
        assert secret not in str(settings.model_dump())
    with pytest.raises(ValidationError):
        settings.port = 1


def test_stream_url_gives_stream_group_and_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RECBLR_STREAM_URL", "rediss://user:hunter2@db:6380/1?stream=clicks&group=shop")
    address = load_settings().stream_url
    assert address is not None
    assert (address.stream, address.group) == ("clicks", "shop")
    assert address.url.get_secret_value() == "rediss://user:hunter2@db:6380/1"
    assert "hunter2" not in repr(load_settings())
    monkeypatch.setenv("RECBLR_STREAM_URL", "redis://db?stream=clicks")
    assert load_settings().stream_url == StreamAddress(SecretStr("redis://db"), "clicks", "recblr")
    monkeypatch.setenv("RECBLR_STREAM_URL", "rediss://db?stream=clicks&ssl_ca_certs=/ca.pem")
    assert load_settings().stream_url == StreamAddress(
        SecretStr("rediss://db?ssl_ca_certs=%2Fca.pem"), "clicks", "recblr"
    )


def test_empty_variable_means_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RECBLR_PORT", "")
    monkeypatch.setenv("RECBLR_API_KEYS", "")
    assert (load_settings().port, load_settings().api_keys) == (8000, ())


WRONG = [
    ("RECBLR_PORT", "0"),
    ("RECBLR_PORT", "65536"),
    ("RECBLR_PORT", "http"),
    ("RECBLR_STATE_URL", "postgres://user:hunter2hunter2@db"),
    ("RECBLR_STATE_URL", "redis+other://user:hunter2hunter2@db"),
    ("RECBLR_REDIS_WAIT", "-1"),
    ("RECBLR_DAYS_KEPT", "0"),
    ("RECBLR_DAYS_KEPT", "1.5"),
    ("RECBLR_WORKERS", "0"),
    ("RECBLR_API_KEYS", "hunter2"),
    ("RECBLR_API_KEYS", f"{KEYS},hunter2"),
    ("RECBLR_API_KEYS", ","),
    ("RECBLR_API_KEYS", "hunter2 with spaces in it"),
    ("RECBLR_API_KEYS", "read:hunter2-of-enough-length"),
    ("RECBLR_API_KEYS", f"everything:sha256:{'0' * 64}"),
    ("RECBLR_API_KEYS", f"sha256:{'0' * 64}"),
    ("RECBLR_API_KEYS", f"read:sha256:{'0' * 63}"),
    ("RECBLR_API_KEYS", f"read+:sha256:{'0' * 64}"),
    ("RECBLR_STREAM_URL", "redis://:hunter2hunter2@db/0"),
    ("RECBLR_STREAM_URL", "sqlite:///hunter2?stream=events"),
    ("RECBLR_STREAM_URL", "redis://db/0?stream=events&grup=hunter2"),
    ("RECBLR_STREAM_URL", "redis://db/0?stream="),
    ("RECBLR_STREAM_URL", "redis://db/0?stream=a%20b"),
    ("RECBLR_STREAM_URL", "redis://?stream=events"),
    ("RECBLR_ITEM_STREAM_URL", "redis://:hunter2hunter2@db/0"),
    ("RECBLR_BUNDLE_KEY", "hunter2"),
    ("RECBLR_ID_KEYS", "hunter2"),
    ("RECBLR_ID_KEYS", ",".join(["hunter2" * 5] * 3)),
    ("RECBLR_ATTRIBUTION_DAYS", "0"),
    ("RECBLR_IMPRESSION_SAMPLE", "0"),
    ("RECBLR_CONVERSION_TYPE", "Purchase"),
    ("RECBLR_BUNDLE_KEY", "hunter2 " * 8),
    ("RECBLR_REQUESTS_PER_SECOND", "0"),
    ("RECBLR_REQUESTS_PER_SECOND", "1.5"),
    ("RECBLR_CORS_ORIGINS", "*"),
    ("RECBLR_CORS_ORIGINS", "shop.example"),
    ("RECBLR_CORS_ORIGINS", "https://shop.example/"),
    ("RECBLR_CORS_ORIGINS", "https://Shop.example"),
    ("RECBLR_CORS_ORIGINS", "https://shop.example,null"),
    ("RECBLR_ROOT_PATH", "/"),
    ("RECBLR_ROOT_PATH", "recommender"),
    ("RECBLR_ROOT_PATH", "/recommender/"),
    ("RECBLR_ROOT_PATH", "/a/../b"),
    ("RECBLR_ROOT_PATH", "/a b"),
    ("RECBLR_ROOT_PATH", "/v1"),
    ("RECBLR_ROOT_PATH", "/v1/users"),
    ("RECBLR_DEVICE", "tpu"),
    ("RECBLR_LOG_LEVEL", "loud"),
    ("RECBLR_EVENTS_KEPT", "9"),
    ("RECBLR_EVENTS_KEPT", "100001"),
    ("RECBLR_MIN_RECALL", "0"),
    ("RECBLR_MIN_RECALL", "1.01"),
    ("RECBLR_MIN_RECALL", "nan"),
    ("RECBLR_MIN_RECALL", "high"),
    ("RECBLR_API_KEY", KEYS),
    ("RECBLR_NONSENSE", "1"),
]


@pytest.mark.parametrize(("name", "value"), WRONG)
def test_wrong_value_is_refused_in_one_sentence_without_secrets(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError) as refused:
        load_settings()
    sentence = str(refused.value)
    assert name in sentence
    assert "\n" not in sentence
    assert "hunter2" not in sentence
    assert KEYS not in sentence


def test_retired_scope_is_refused_with_its_successors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RECBLR_API_KEYS", f"{KEYS},read+write:sha256:{'0' * 64}")
    with pytest.raises(SettingsError, match=r"^RECBLR_API_KEYS: the scope write .*append\+read.*append\+erase.*\.$"):
        load_settings()


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("RECBLR_PORTS", "RECBLR_PORT"),
        ("recblr_api_key", "RECBLR_API_KEYS"),
        ("RECBLR_LOGLEVEL", "RECBLR_LOG_LEVEL"),
        ("RECBLR_STATEURL", "RECBLR_STATE_URL"),
        ("RECBLR_BUNDEL", "RECBLR_BUNDLE"),
    ],
)
def test_misspelled_variable_is_refused_with_suggestion(
    monkeypatch: pytest.MonkeyPatch, name: str, meant: str
) -> None:
    monkeypatch.setenv(name, "1")
    with pytest.raises(SettingsError, match=rf"did you mean {meant}\?"):
        load_settings()


@pytest.mark.parametrize("name", ["RECBLR_REDIS_URL", "RECBLR_TIMEOUT", "RECBLR_MODEL", "RECBLR_DEBUG", "RECBLR_X"])
def test_unknown_variable_is_refused_with_list_of_settings(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, "1")
    with pytest.raises(
        SettingsError, match=rf"{name} is not a setting.*the settings are RECBLR_ACCESS_LOG, RECBLR_ACCURACY_SAMPLE, "
    ):
        load_settings()
