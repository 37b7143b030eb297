"""Error responses: HTTP status of each error class, and the JSON shape.

The classes themselves are in `core.errors`; `exception_handlers` turns exceptions into these responses.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from starlette.responses import JSONResponse, Response

from service.core import errors

STATUS: Mapping[type[errors.ServiceError], int] = {
    errors.ServiceError: 500,
    errors.InvalidRequest: 422,
    errors.PayloadTooLarge: 413,
    errors.Unauthorized: 401,
    errors.TokenExpired: 401,
    errors.Forbidden: 403,
    errors.NotFound: 404,
    errors.UserNotFound: 404,
    errors.EventNotFound: 404,
    errors.ItemNotFound: 404,
    errors.ModelVersionNotFound: 404,
    errors.AttributeNotFound: 404,
    errors.FilterNotFound: 404,
    errors.EventConflict: 409,
    errors.ItemConflict: 409,
    errors.AttributeConflict: 409,
    errors.RolloutRefused: 409,
    errors.RolloutUnfinished: 503,
    errors.Overloaded: 429,
    errors.RateLimited: 429,
    errors.DeadlineExceeded: 503,
    errors.StoreUnavailable: 503,
    errors.NotReady: 503,
}

_HEADERS: Mapping[int, Mapping[str, str]] = {
    401: {"WWW-Authenticate": "Bearer"},
}


def error_body(code: str, message: str, details: list[dict[str, object]] | None = None) -> dict[str, Any]:
    """Build the value of `error` in an error response."""
    body: dict[str, Any] = {"code": code, "message": message}
    if details:
        body["details"] = details
    return body


def error_response(error: errors.ServiceError) -> Response:
    """Build the response for `error`."""
    status = STATUS[type(error)]
    content = {"error": error_body(error.code, error.message, error.details)}
    headers = _HEADERS.get(status)
    if status in (429, 503):
        headers = {"Retry-After": str(error.retry_after_seconds)}
    return JSONResponse(content, status, headers=headers)


def internal_error() -> errors.ServiceError:
    """Build the error for a fault in the service.

    The client learns nothing about the inside; the log has the traceback.
    """
    return errors.ServiceError("the service failed on this request; report it with the X-Request-ID of this answer")
