"""Thread for work that would hold the event loop.

Compiled code keeps the GIL for as long as one call takes. Large bodies and answers are therefore worked on in slices,
in a thread of their own, and the event loop waits for one slice at most. There is one such thread, because more would
only compete with the event loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from fastapi import Request, Response
from fastapi.routing import APIRoute

from service.api.schemas.json_structure import SLICE_BYTES, parse
from service.core.recommending.heavy_work import HEAVY_WORK

MAX_INLINE_BYTES = SLICE_BYTES

Result = TypeVar("Result")

_thread = ThreadPoolExecutor(1, thread_name_prefix="requests")


async def in_work_thread(work: Callable[..., Result], *arguments: object) -> Result:
    """Run heavy work in the thread, and return its result."""
    loop = asyncio.get_running_loop()
    return await HEAVY_WORK.run(lambda: loop.run_in_executor(_thread, work, *arguments))


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
