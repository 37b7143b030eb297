"""Variables that Kubernetes injects are ignored; misspelt settings are not."""

from __future__ import annotations

import os

import pytest

from service.kubernetes import drop_injected
from service.settings import SettingsError, load_settings

# `kubectl exec POD -- env`, for a Service of two ports.
INJECTED = """\
{name}_SERVICE_HOST=10.96.7.1
{name}_SERVICE_PORT=8000
{name}_SERVICE_PORT_HTTP=8000
{name}_PORT=tcp://10.96.7.1:8000
{name}_PORT_8000_TCP=tcp://10.96.7.1:8000
{name}_PORT_8000_TCP_PROTO=tcp
{name}_PORT_8000_TCP_PORT=8000
{name}_PORT_8000_TCP_ADDR=10.96.7.1
{name}_PORT_53_UDP=udp://[fd00::1]:53"""


def injected(name: str) -> dict[str, str]:
    return dict(line.split("=") for line in INJECTED.format(name=name).splitlines())


@pytest.mark.parametrize("name", ["RECBLR", "RECBLR_SERVE", "RECBLR_HOST", "RECBLR_PORT", "RECBLR2"])
def test_variables_of_a_service_are_dropped(name: str) -> None:
    environment = {**injected(name), "RECBLR_HOST": "::1", "RECBLR_WORKERS": "2", "REDIS_PORT": "tcp://10.0.0.1:6379"}
    assert drop_injected(environment) == sorted(injected(name))
    assert environment == {"RECBLR_HOST": "::1", "RECBLR_WORKERS": "2", "REDIS_PORT": "tcp://10.0.0.1:6379"}


def test_port_that_the_operator_set_is_kept() -> None:
    environment = injected("RECBLR") | {"RECBLR_PORT": "9000"}
    drop_injected(environment)
    assert environment == {"RECBLR_PORT": "9000"}


def test_settings_are_read_in_the_namespace_of_the_service(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in injected("RECBLR").items():
        monkeypatch.setenv(name, value)
    assert load_settings().port == 8000


@pytest.mark.parametrize("name", ["RECBLR_SERVICE_HOST", "RECBLR_SERVICE_PORT", "RECBLR_HOST_PORT", "RECBLR_PORTS"])
def test_misspelt_setting_is_refused(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for existing in list(os.environ):
        if existing.startswith("RECBLR_"):
            monkeypatch.delenv(existing)
    monkeypatch.setenv(name, "8001")
    with pytest.raises(SettingsError, match=name):
        load_settings()
