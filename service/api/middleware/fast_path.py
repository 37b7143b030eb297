"""The two requests that carry the traffic, answered below the framework's conveniences.

An ordinary event and an ordinary read skip routing, dependencies and response models, which cost more than all of
the service's own work on them (figures in decision 0041). Whatever is not ordinary (another media type, a parameter
that is not known, a body that does not validate) goes on to the declared routes as if nothing had happened. These
stay the specification: they answer alike, and every refusal of a request is theirs.
"""

from __future__ import annotations

from collections.abc import Awaitable
from functools import lru_cache
from typing import TypeVar
from urllib.parse import parse_qsl

from pydantic import BaseModel, TypeAdapter, ValidationError
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.api.answers import answer_event, answer_recommendations
from service.api.dependencies import Services
from service.api.errors import logged_error_response
from service.api.schemas.field_types import PathId
from service.api.schemas.requests import EventIn, RecordQuery, TopKQuery
from service.core.errors import ServiceError

_EVENTS = "/v1/events"
_USERS, _RECOMMENDATIONS = "/v1/users/", "/recommendations"
_LARGEST_BODY = 16 * 1024  # more than any event needs

_EVENT = TypeAdapter(EventIn).validator
_USER_ID = TypeAdapter(PathId).validator

Query = TypeVar("Query", bound=BaseModel)


class _Route:
    """What logs and metrics ask of a route."""

    def __init__(self, path: str) -> None:
        self.path = path


_RECORD, _RECOMMEND = _Route(_EVENTS), _Route(f"{_USERS}{{user_id}}{_RECOMMENDATIONS}")


class FastPath:
    """Who may call has been settled when a request comes here; its body is bounded here, or further inside."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one ASGI scope."""
        services: Services | None = scope["app"].state.services if scope["type"] == "http" else None
        if services is not None:
            method, path = scope["method"], scope["path"]
            if method == "POST" and path == _EVENTS:
                query = _parsed(RecordQuery, scope["query_string"])
                if query is not None and _is_short_json(scope):
                    body, receive = await _read(receive)
                    event = _event(body)
                    if event is not None:
                        await _answer(_RECORD, answer_event(services.recommender, event, query), scope, receive, send)
                        return
            elif method == "GET" and path.startswith(_USERS) and path.endswith(_RECOMMENDATIONS):
                user_id = _user_id(path[len(_USERS) : -len(_RECOMMENDATIONS)])
                asked = _parsed(TopKQuery, scope["query_string"])
                if user_id is not None and asked is not None:
                    work = answer_recommendations(services.recommender, user_id, asked)
                    await _answer(_RECOMMEND, work, scope, receive, send)
                    return
        await self._app(scope, receive, send)


async def _answer(route: _Route, work: Awaitable[bytes], scope: Scope, receive: Receive, send: Send) -> None:
    scope["route"] = route
    try:
        body = await work
    except ServiceError as error:
        await logged_error_response(error, scope)(scope, receive, send)
        return
    headers = [(b"content-length", b"%d" % len(body)), (b"content-type", b"application/json")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def _read(receive: Receive) -> tuple[bytes, Receive]:
    """The body, and a `receive` from which it can be read again."""
    messages = [await receive()]
    while messages[-1].get("more_body"):
        messages.append(await receive())

    async def receive_again() -> Message:
        return messages.pop(0) if messages else await receive()

    return b"".join([message.get("body", b"") for message in messages]), receive_again


def _event(body: bytes) -> EventIn | None:
    try:
        event: EventIn = _EVENT.validate_json(body)
    except ValidationError:
        return None
    return event


def _user_id(segment: str) -> str | None:
    try:
        return None if "/" in segment else str(_USER_ID.validate_python(segment))
    except ValidationError:
        return None


@lru_cache(maxsize=256)  # clients send few different ones, again and again
def _parsed(model: type[Query], query_string: bytes) -> Query | None:
    fields = parse_qsl(query_string.decode("latin-1"), keep_blank_values=True)
    try:
        return model.model_validate(dict(fields)) if len(dict(fields)) == len(fields) else None
    except ValidationError:
        return None


def _is_short_json(scope: Scope) -> bool:
    """Whether the request declares a body that is JSON and of a bounded length."""
    short = json = False
    for name, value in scope["headers"]:
        if name == b"content-length":
            short = value.isdigit() and int(value) <= _LARGEST_BODY
        elif name == b"content-type":
            json = value == b"application/json"
    return short and json
