"""Logs are JSON lines with the id of the request."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator

import pytest

from service.observability.logging import configure_logging, current_request_id


@pytest.fixture(autouse=True)
def restore_logging() -> Iterator[None]:
    root = logging.getLogger()
    before = root.handlers[:], root.level
    yield
    root.handlers[:], root.level = before
    logging.captureWarnings(False)


def test_message_is_one_json_line_with_fields(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("info")
    logging.getLogger("service.test").warning("cannot read", extra={"reason": "a\nb"})
    [line] = capsys.readouterr().err.splitlines()
    record = json.loads(line)
    assert record.pop("timestamp")
    assert record == {"level": "WARNING", "logger": "service.test", "message": "cannot read", "reason": "a\nb"}


def test_messages_below_level_are_dropped(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("warning")
    logging.getLogger("service.test").info("not written")
    assert capsys.readouterr().err == ""


def test_request_id_is_added_within_request(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("info")
    token = current_request_id.set("abc")
    logging.getLogger("service.test").info("inside")
    current_request_id.reset(token)
    logging.getLogger("service.test").info("outside")
    inside, outside = map(json.loads, capsys.readouterr().err.splitlines())
    assert inside["request_id"] == "abc"
    assert "request_id" not in outside
