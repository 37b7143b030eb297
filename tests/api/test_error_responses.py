"""Status table and shape of error responses."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from service.api.error_responses import STATUS, error_response
from service.core.errors import ServiceError


def every_error(root: type[ServiceError] = ServiceError) -> Iterator[type[ServiceError]]:
    yield root
    for child in root.__subclasses__():
        yield from every_error(child)


def test_status_table_lists_exactly_the_error_classes() -> None:
    assert set(every_error()) == set(STATUS)


def test_every_error_class_has_unique_code() -> None:
    codes = [error.code for error in every_error()]
    assert len(codes) == len(set(codes))


@pytest.mark.parametrize("error", STATUS, ids=lambda error: error.__name__)
def test_error_response_has_status_shape_and_headers(error: type[ServiceError]) -> None:
    response = error_response(error("what to do", details=[{"field": "f", "problem": "p"}]))
    assert response.status_code == STATUS[error]
    body = json.loads(bytes(response.body))
    details = [{"field": "f", "problem": "p"}]
    assert body == {"error": {"code": error.code, "message": "what to do", "details": details}}
    assert ("retry-after" in response.headers) == (response.status_code in (429, 503))
    assert ("www-authenticate" in response.headers) == (response.status_code == 401)
