"""Catalogue entries over HTTP."""

from __future__ import annotations

import time
from collections.abc import Iterable
from itertools import islice
from typing import Any

from loadtests.generator.http_client import RequestError, request_json

ITEMS_PER_BATCH = 1000
_ATTEMPTS = 20
_PAUSE_SECONDS = 0.5


def put_items(port: int, items: Iterable[dict[str, Any]]) -> None:
    """Put entries in batches, again if a busy machine answers late.

    Raises:
        OSError: an item was refused, or the service answered late many times.
    """
    rest = iter(items)
    while batch := list(islice(rest, ITEMS_PER_BATCH)):
        request_until_accepted(port, "POST", "/v1/items/batch", {"items": batch, "mode": "put"})


def request_until_accepted(port: int, method: str, path: str, body: object) -> Any:  # noqa: ANN401 - JSON of any shape
    """Repeat a request until its answer has no error."""
    problem: object = None
    for attempt in range(_ATTEMPTS):
        time.sleep(_PAUSE_SECONDS * bool(attempt))
        try:
            answer = request_json(port, method, path, body)
        except OSError as error:
            problem = error
            continue
        problem = next((each["error"] for each in answer.get("results", ()) if "error" in each), None)
        if problem is None:
            return answer
    raise RequestError(f"{method} {path}: refused {_ATTEMPTS} times: {problem}")
