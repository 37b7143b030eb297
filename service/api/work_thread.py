"""Thread for work that would hold the event loop.

Compiled code keeps the GIL for as long as one call takes. Large bodies and answers are therefore worked on in slices,
in a thread of their own, and the event loop waits for one slice at most. There is one such thread, because more would
only compete with the event loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, TypeVar

from fastapi import Request, Response
from fastapi.routing import APIRoute
from pydantic_core import to_json

from service.api.schemas.item_fields import Json
from service.api.schemas.json_structure import SLICE_BYTES, parse
from service.core.errors import InvalidRequest
from service.core.recommending.heavy_work import HEAVY_WORK

MAX_INLINE_BYTES = SLICE_BYTES
MAX_ANSWER_BYTES = 16 * 1024 * 1024
LARGE_ROWS = 25  # rows that are encoded at once, if each may have some 16 KB

Result = TypeVar("Result")

encoded = partial(to_json, inf_nan_mode="null")  # JSON in UTF-8

_thread = ThreadPoolExecutor(1, thread_name_prefix="requests")


async def in_work_thread(work: Callable[..., Result], *arguments: object) -> Result:
    """Run heavy work in the thread, and return its result."""
    loop = asyncio.get_running_loop()
    return await HEAVY_WORK.run(lambda: loop.run_in_executor(_thread, work, *arguments))


def encode_long(out: Json, name: str, rows_at_once: int = LARGE_ROWS, holder: Json | None = None) -> bytes:
    """Return the JSON of `out`; the list `name` is encoded in slices.

    One call for all rows would hold the event loop for milliseconds.

    Args:
        out: The answer.
        name: Field with the rows. No list behind it may have this name.
        rows_at_once: Rows of a slice.
        holder: Object in `out` with the field; by default `out` itself.

    Raises:
        InvalidRequest: The answer is too long.
    """
    holder = out if holder is None else holder
    rows, holder[name] = holder[name], []
    empty = f'"{name}":[]'.encode()
    before, _, after = encoded(out).rpartition(empty)
    parts = [encoded(rows[start : start + rows_at_once])[1:-1] for start in range(0, len(rows), rows_at_once)]
    if sum(map(len, parts)) > MAX_ANSWER_BYTES:
        raise InvalidRequest("the answer would be larger than 16 MiB; ask for fewer items or fields")
    return b"".join((before, empty[:-1], b",".join(parts), b"]", after))


class _Request(Request):
    """Request whose large body is parsed in the thread."""

    async def json(self) -> Any:  # noqa: ANN401 - JSON of any shape
        body = await self.body()
        if len(body) <= MAX_INLINE_BYTES:
            return await super().json()
        return await in_work_thread(parse, body)


class BodyRoute(APIRoute):
    """Route that takes a JSON body."""

    def get_route_handler(self) -> Callable[[Request], Any]:
        """Wrap the framework's handler, so that it sees `_Request`."""
        handler = super().get_route_handler()

        async def handle(request: Request) -> Response:
            response: Response = await handler(_Request(request.scope, request.receive))
            return response

        return handle
