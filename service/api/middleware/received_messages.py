"""Messages of a request that a middleware has received before the application."""

from __future__ import annotations

from starlette.types import Message, Receive


def receive_again(messages: list[Message], receive: Receive) -> Receive:
    """Return a `receive` that begins with `messages`, and empties the list."""

    async def receive_next() -> Message:
        return messages.pop(0) if messages else await receive()

    return receive_next
