"""Phases, deadlines and closing of one connection."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, cast

from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from service.api.connection import refusals
from service.api.connection.body_framing import BodyFraming
from service.api.connection.limits import ConnectionLimits, Timeouts, limits_of
from service.api.connection.refusals import CORS_STATE, Refusal, origin_in
from service.api.connection.token_buckets import network_of
from service.api.connection.transport import CollectingTransport, HeldFlow

MAX_DROPPED_BYTES = 32 * 1024 * 1024  # of a body that nobody reads any more
MAX_DROPPED_AFTER_REFUSAL = 1024 * 1024  # of a malformed message
_MIN_EVICTION_AGE_SECONDS = 1.0

# Phases of a connection: what it waits for.
HEAD, BODY, ANSWER, IDLE, CLOSE = "head", "body", "answer", "idle", "close"


class TimedConnection(HttpToolsProtocol):
    """Connection that is closed when its client is too slow."""

    timeouts = Timeouts()
    flow: HeldFlow

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self.ws_protocol_class = None
        self._limits: ConnectionLimits = limits_of(server_state, self.connections, self.loop)
        self._slots = self._limits.slots
        self._phase, self._since = HEAD, self.loop.time()
        self._received: bytes | bytearray = b""
        self._body: BodyFraming | None = None
        self._body_bytes = self._dropped_bytes = 0
        self._stalled_since: float | None = None
        self._served = False  # whether a request was answered
        self._refused = False  # whether the newest answer was a refusal
        self._has_no_room = False  # whether its first request is refused, whatever it is
        self._cors_headers: Mapping[bytes, bytes] = app_state.get(CORS_STATE, {})

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Collect the writes to this connection, and count it."""
        self._writes = CollectingTransport(transport, self.loop, self._close_gently)
        super().connection_made(cast(asyncio.Transport, self._writes))
        self._network = network_of(self.client)
        self._refusals = self._limits.refusals.of(self._network)
        self.flow = HeldFlow(transport)
        if not self._limits.admit(self):
            # A browser shows a page the refusal only with the headers for its origin, which is in the head.
            self._has_no_room = bool(self._cors_headers) and self._limits.may_wait(self)
            if not self._has_no_room:
                self._refuse_at_once()
        else:
            self._drop_if_left()

    def _drop_if_left(self) -> bool:
        """Close a connection whose client has left, after too many refusals."""
        left = self._refusals.is_empty() and self._writes.has_left()
        if left:
            self.transport.abort()
        return left

    def _must_wait(self) -> bool:
        """Return whether the next request waits for a slot, or is dropped.

        The clients of an address that was refused too often wait after each refusal.
        """
        if not self._served:
            return self._drop_if_left()
        return self._refused and self._refusals.is_empty()

    def connection_lost(self, exc: Exception | None) -> None:
        """Free what waits for a slot."""
        super().connection_lost(exc)
        self._received, self._body = b"", None
        self._slots.forget(self._network, self._work_in_slot)
        self._writes.let_go()

    def _ask_for_slot(self) -> None:
        """Read nothing until the connection's next slot."""
        self.flow.hold()
        self._slots.ask(self._network, self._work_in_slot, self._drop_work, len(self._received))

    def _work_in_slot(self) -> bool | None:
        """Continue, if the client is still there; see `work_slots.Work`."""
        if self not in self.connections:
            return None
        if self._writes.is_reset():
            self.transport.abort()
            return None
        if self.transport.is_closing():  # unread bytes behind a refusal
            self.flow.release()
            return False
        return self._take_slot()

    def _take_slot(self) -> bool:
        """Continue; return whether a request was started."""
        return False

    def _drop_work(self) -> None:
        self._limits.count_dropped()
        self.transport.abort()

    def check_deadline(self, now: float) -> None:
        """Close the connection if the client is too slow."""
        waited, times = now - self._since, self.timeouts
        if self._stalled_since is not None and now - self._stalled_since > self._seconds_to_write():
            self._close_slow("response")
        elif self._has_no_room and self._phase == HEAD:
            self._refuse_at_once()
        elif self._phase == HEAD and waited > times.head:
            self._close_slow("head", refusals.HEAD_TIMEOUT if self._received else None)
        elif self._phase == BODY and self.flow.read_paused:
            self._since = now  # the application is slow, not the client
        elif self._phase == BODY and waited > times.body + self._body_bytes / times.min_bytes_per_second:
            self._close_slow("body", refusals.BODY_TIMEOUT)
        elif self._phase == IDLE and waited > self.timeout_keep_alive:
            self.transport.close()
        elif self._phase == CLOSE and waited > times.linger and not self.transport.get_write_buffer_size():
            self.transport.abort()

    def _seconds_to_write(self) -> float:
        unsent = self.transport.get_write_buffer_size()
        return self.timeouts.body + unsent / self.timeouts.min_bytes_per_second

    def eviction_order(self, now: float) -> tuple[int, float] | None:
        """Return what to close first: slow clients, unused connections, idle ones."""
        if self._phase == ANSWER or self._has_no_room:
            return None
        waits = self._phase != IDLE and now - self._since > _MIN_EVICTION_AGE_SECONDS
        return (0 if waits else 2 if self._served else 1), self._since

    def evict(self) -> None:
        """Close the connection at once."""
        self._limits.count_closed(self._phase)
        self.transport.abort()

    def pause_writing(self) -> None:
        """Note since when the client does not read."""
        super().pause_writing()
        self._stalled_since = self.loop.time()

    def resume_writing(self) -> None:
        """Note that the client reads."""
        super().resume_writing()
        self._stalled_since = None

    def shutdown(self) -> None:
        """Close an idle connection; otherwise close it after the answer."""
        if self._phase == CLOSE or self.cycle is None or self.cycle.response_complete:
            self._close_both_sides()
        else:
            super().shutdown()

    def _wait_for(self, phase: str) -> None:
        if self._phase != phase:
            self._phase, self._since = phase, self.loop.time()

    def _close_gently(self) -> bool:
        """Return whether the client may still be sending; prepare to drop that."""
        still_sends = self._phase == CLOSE or self._body is not None or bool(self._received)
        self._wait_for(CLOSE)
        self._received, self._body = b"", None
        if still_sends:
            self.flow.release()
            self.flow.resume_reading()
        return still_sends

    def _refuse_at_once(self) -> None:
        """Refuse a connection that there is no room for."""
        self.transport.write(refusals.TOO_MANY_CONNECTIONS.encoded())
        self._close_both_sides()

    def _close_both_sides(self) -> None:
        self._wait_for(CLOSE)
        self._writes.close_both_sides()

    def _drop(self, count: int) -> None:
        """Count unread bytes; close the connection if there are too many."""
        self._dropped_bytes += count
        if self._dropped_bytes > MAX_DROPPED_BYTES:
            self.transport.abort()

    def _drop_slowly(self, count: int) -> None:
        """Count unread bytes of a closing connection; read on in a slot."""
        self._drop(count)
        if not self.flow.held:
            self._ask_for_slot()

    def _refuse(self, refusal: Refusal, head: bytes = b"") -> None:
        """Answer with `refusal`, and close the connection.

        `head` is the refused head, if it is complete.
        """
        if self.transport.is_closing():
            return
        header_lines = self._cors_lines(head)
        self._dropped_bytes = MAX_DROPPED_BYTES - MAX_DROPPED_AFTER_REFUSAL
        started = False
        if self.cycle is not None and not self.cycle.response_complete:
            started = self.cycle.response_started
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        self._wait_for(CLOSE)
        self._refusals.take()
        if not started:
            self.transport.write(refusal.encoded(header_lines))
        self.transport.close()

    def _cors_lines(self, head: bytes) -> bytes:
        if not self._cors_headers:
            return b""
        if head or self._phase == HEAD:
            origin = origin_in(head or self._received)
        else:
            origin = next((value for name, value in self.headers if name == b"origin"), b"")
        return self._cors_headers.get(origin, b"")

    def _close_slow(self, part: str, refusal: Refusal | None = None) -> None:
        self._limits.count_closed(part)
        if refusal is None:
            self.transport.abort()
        else:
            self._refuse(refusal)
