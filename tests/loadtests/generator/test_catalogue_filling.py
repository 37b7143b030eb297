"""Entries are put in batches, again after a late answer."""

from __future__ import annotations

from typing import Any

import pytest

from loadtests.generator import catalogue_filling
from loadtests.generator.catalogue_filling import put_items
from loadtests.generator.http_client import RequestError

Answers = list[dict[str, Any] | OSError]


def answer_with(monkeypatch: pytest.MonkeyPatch, answers: Answers) -> list[int]:
    """Give the answers in turn; return the sizes of the batches."""
    sizes: list[int] = []

    def request_json(port: int, method: str, path: str, body: dict[str, Any]) -> dict[str, Any]:
        sizes.append(len(body["items"]))
        answer = answers.pop(0) if answers else {"results": []}
        if isinstance(answer, OSError):
            raise answer
        return answer

    monkeypatch.setattr(catalogue_filling, "request_json", request_json)
    monkeypatch.setattr(catalogue_filling, "_PAUSE_SECONDS", 0)
    return sizes


def test_batch_is_put_again_after_an_error_or_a_refused_item(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = answer_with(monkeypatch, [RequestError("503"), {"results": [{"error": "late"}]}])
    put_items(1, ({"item_id": str(n)} for n in range(1500)))
    assert sizes == [1000, 1000, 1000, 500]


def test_item_that_is_always_refused_ends_the_load(monkeypatch: pytest.MonkeyPatch) -> None:
    answer_with(monkeypatch, [{"results": [{"error": "no such type"}]}] * 100)
    with pytest.raises(RequestError, match="no such type"):
        put_items(1, [{"item_id": "a"}])
