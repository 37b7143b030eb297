"""Fast path for the two most frequent requests, below FastAPI (decision 0040).

An ordinary `POST /v1/events` and an ordinary `GET /v1/users/{user_id}/recommendations` skip routing, dependencies and
response models, which cost more than the service's own work on them (decision 0041).

Any other request continues to the declared routes unchanged: another media type, an unknown parameter, a body that
does not validate. The routes remain the specification. Both give the same response, and every refusal of an invalid
request comes from the routes.
"""

from __future__ import annotations

from collections.abc import Awaitable
from functools import lru_cache
from typing import TypeVar
from urllib.parse import parse_qsl

from pydantic import BaseModel, TypeAdapter, ValidationError
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.api.answers import answer_event, answer_recommendations
from service.api.caller import CALLER
from service.api.connection.transport import MAX_WHOLE_BYTES, WHOLE_RESPONSE
from service.api.dependencies import Services
from service.api.exception_handlers import ErrorHandlers
from service.api.middleware.received_messages import receive_again
from service.api.schemas.field_types import PathId
from service.api.schemas.requests import QuestionEventIn, RecordQuery, TopKQuery
from service.api.schemas.restrictions import LIST_PARAMETERS, PARAMETER
from service.core.errors import ServiceError

_EVENTS = "/v1/events"
_USERS, _RECOMMENDATIONS = "/v1/users/", "/recommendations"
_MAX_BODY_BYTES = 16 * 1024  # more than any single event needs
_MAX_QUERY_BYTES = 1024  # as much is kept in a cache

_EVENT = TypeAdapter(QuestionEventIn).validator
_USER_ID = TypeAdapter(PathId).validator

Query = TypeVar("Query", bound=BaseModel)


class _RouteTemplate:
    """Route template of a request, as `observability.metrics.route_of` reads it."""

    def __init__(self, path: str) -> None:
        self.path = path


_RECORD, _RECOMMEND = _RouteTemplate(_EVENTS), _RouteTemplate(f"{_USERS}{{user_id}}{_RECOMMENDATIONS}")


class FastPath:
    """Middleware that answers ordinary events and reads.

    It runs behind `ApiKeys`, so the caller is already authorized. It runs before `BodyLimit` and therefore reads only
    short bodies itself.
    """

    def __init__(self, app: ASGIApp, handlers: ErrorHandlers) -> None:
        self._app = app
        self._handlers = handlers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer the request if it is ordinary, otherwise pass it on."""
        services: Services | None = scope["app"].state.services if scope["type"] == "http" else None
        answer: Awaitable[bytes] | None = None
        if services is not None and len(scope["query_string"]) <= _MAX_QUERY_BYTES:
            method, path = scope["method"], scope["path"]
            if method == "POST" and path == _EVENTS:
                query = _parse_query(RecordQuery, scope["query_string"])
                if query is not None:
                    event, messages = await _read_event(scope, receive)
                    if event is not None:
                        scope["route"] = _RECORD
                        answer = answer_event(services.recommender, event, query, scope[CALLER])
                    elif messages:
                        receive = receive_again(messages, receive)
            elif method == "GET" and path.startswith(_USERS) and path.endswith(_RECOMMENDATIONS):
                user_id = _parse_user_id(path[len(_USERS) : -len(_RECOMMENDATIONS)])
                top_k = _parse_query(TopKQuery, scope["query_string"])
                if user_id is not None and top_k is not None:
                    scope["route"] = _RECOMMEND
                    answer = answer_recommendations(services.recommender, user_id, top_k, scope[CALLER])
        if answer is None:
            await self._app(scope, receive, send)
            return
        try:
            body = await answer
        except ServiceError as error:
            await self._handlers.respond(error, scope)(scope, receive, send)
            return
        headers = [(b"content-length", b"%d" % len(body)), (b"content-type", b"application/json")]
        if len(body) <= MAX_WHOLE_BYTES and WHOLE_RESPONSE in scope.get("extensions", ()):
            await send({"type": WHOLE_RESPONSE, "status": 200, "headers": headers, "body": body})
            return
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})


async def _read_event(scope: Scope, receive: Receive) -> tuple[QuestionEventIn | None, list[Message]]:
    """Return the body's event, if valid, and the messages of the body.

    The body is read only if the headers declare one short, plain JSON text.
    """
    lengths, types = [], []
    for name, value in scope["headers"]:
        if name == b"content-length":
            lengths.append(value)
        elif name == b"content-type":
            types.append(value)
        elif name == b"content-encoding":
            return None, []
    if types != [b"application/json"] or len(lengths) != 1:
        return None, []
    if not lengths[0].isdigit() or len(lengths[0]) > 6 or int(lengths[0]) > _MAX_BODY_BYTES:
        return None, []
    messages = [await receive()]
    while messages[-1].get("more_body"):
        messages.append(await receive())
    if messages[-1]["type"] == "http.disconnect":  # the body is cut off, whatever it says so far
        return None, messages
    try:
        event: QuestionEventIn = _EVENT.validate_json(b"".join([message.get("body", b"") for message in messages]))
    except ValidationError:
        return None, messages
    return event, messages


def _parse_user_id(segment: str) -> str | None:
    try:
        return None if "/" in segment else str(_USER_ID.validate_python(segment))
    except ValidationError:
        return None


@lru_cache(maxsize=256)  # clients repeat a few query strings
def _parse_query(model: type[Query], query_string: bytes) -> Query | None:
    fields: dict[str, str | list[str]] = {}
    for name, value in parse_qsl(query_string.decode("latin-1"), keep_blank_values=True):
        before = fields.get(name)
        if name in LIST_PARAMETERS:
            fields[name] = [*(before or ()), value]
        elif before is None:
            fields[name] = value
        elif name.startswith(PARAMETER):
            fields[name] = [*([before] if isinstance(before, str) else before), value]
        else:
            return None
    try:
        return model.model_validate(fields)
    except ValidationError:
        return None
