"""uvicorn's HTTP protocol with limits, and with message framing of our own.

uvicorn gives every byte to its parser as it arrives. A head then has no limit, pipelined requests pile up, trailers
count as headers, and the body of a request with an Upgrade header is read as the next request. Here the parser gets
one complete head at a time; the body behind it is framed by `connection.body_framing` (decision 0090).
"""

from __future__ import annotations

import httptools
from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT

from service.api.connection import body_framing, refusals
from service.api.connection.body_framing import BodyFraming, ChunkedFraming, FramingError, LengthFraming
from service.api.connection.head_checks import SHORT_HEAD_BYTES, refusal_of
from service.api.connection.refusals import Refusal
from service.api.connection.timed_connection import ANSWER, BODY, HEAD, IDLE, TimedConnection
from service.api.connection.transport import EXTENSIONS, ResponseCycle

MAX_HEAD_BYTES = 64 * 1024
_MAX_COPIED_BYTES = 4096


class HttpProtocol(TimedConnection):
    """Protocol of one client connection; pass the class to uvicorn as `http`.

    One request is parsed and answered at a time. Bytes of the next one wait, at most one read of them, and the socket
    is not read meanwhile. Upgrades are ignored, as RFC 9110, section 7.8 allows.
    """

    _searched = 0  # bytes of `_received` in which no head ends
    _continuing = False
    _in_slot = False  # whether the request in work was started in a slot
    _refusal: Refusal | None = None
    _in_head = False

    def data_received(self, data: bytes) -> None:
        """Parse `data`, or keep it until the request before it is answered."""
        if self.transport.is_closing():
            self._drop_slowly(len(data))
            return
        if not self._received:
            self._received = data
        elif isinstance(self._received, bytearray):
            self._received += data
        else:
            self._received = bytearray(self._received) + data
        if not self._continuing:
            self._advance(body_framing.STEPS_ON_ARRIVAL)

    def _advance(self, max_steps: int = body_framing.STEPS_IN_SLOT) -> None:
        """Parse received bytes, up to a request that must be answered first.

        More than `max_steps` lines and chunks of a body wait for a slot.
        """
        self._continuing = False
        while self._received and not self.transport.is_closing():
            if self._body is not None:
                framing, dropped = self._body, self._dropped_bytes
                self._take_body(framing, max_steps)
                if self.transport.is_closing():
                    return
                if not framing.done and (not framing.starved or self._dropped_bytes > dropped):
                    self._continue_later()
                    return
                if not framing.done:
                    break
            elif self._phase == ANSWER:
                self.flow.hold()
                return
            elif (self._refused or not self._served) and max_steps < body_framing.STEPS_IN_SLOT and self._must_wait():
                self._continue_later()
                return
            elif not self._take_head():
                break
        if self.flow.held and not self.transport.is_closing():
            self.flow.release()

    def _continue_later(self) -> None:
        """Continue in the connection's next slot; read nothing until then."""
        if not self._continuing:
            self._continuing = True
            self._ask_for_slot()

    def _take_slot(self) -> bool:
        """Continue; return whether a request was started."""
        before = self.cycle
        self._advance()
        self._in_slot = self.cycle is not before
        return self._in_slot

    def _take_head(self) -> bool:
        """Parse the next head; return False if it is not complete."""
        if not self._searched and self._received[0] in b"\r\n":
            self._received = self._received.lstrip(b"\r\n")  # RFC 9112, section 2.2
        end = self._received.find(b"\r\n\r\n", max(0, self._searched - 3)) + 4
        if end < 4 and len(self._received) < MAX_HEAD_BYTES:
            self._searched = len(self._received)
            self._wait_for(HEAD)
            return False
        if end < 4 or end > MAX_HEAD_BYTES:
            self._refuse(refusals.HEAD_TOO_LARGE)
            return False
        head = bytes(self._received[:end])
        self._drop_received(end)
        self._searched = 0
        self._refusal, self._in_head = None, True
        refusal = refusal_of(head) if end > SHORT_HEAD_BYTES else None
        if self._has_no_room:
            refusal = refusals.TOO_MANY_CONNECTIONS
        if refusal is not None:  # before the parser calls back for each header
            self._refuse(refusal, head)
            return False
        try:
            self.parser.feed_data(head)
        except httptools.HttpParserUpgrade:
            pass  # the parser would leave the body to the new protocol
        except httptools.HttpParserError:
            self._refusal = self._refusal or refusals.MALFORMED
        if self._refusal is not None or self._in_head:
            self._refuse(self._refusal or refusals.MALFORMED, head)
            return False
        return True

    def _drop_received(self, count: int) -> None:
        """Remove the first bytes, without a copy of many others."""
        if count == len(self._received):
            self._received = b""
        elif isinstance(self._received, bytearray) or len(self._received) > _MAX_COPIED_BYTES:
            if not isinstance(self._received, bytearray):
                self._received = bytearray(self._received)
            del self._received[:count]  # moves a bytearray's start
        else:
            self._received = self._received[count:]

    def on_headers_complete(self) -> None:
        """Start the request, with its body if all of it has arrived."""
        length = self._body_length()
        if self._refusal is not None:
            return
        self._dropped_bytes = 0
        self._phase, self._in_head = ANSWER, False
        self.scope["extensions"] = EXTENSIONS
        super().on_headers_complete()
        self.cycle.__class__ = ResponseCycle  # its task has not begun yet
        if length is not None and length <= len(self._received):
            self._body, self._body_bytes = None, length
            if length:
                self.cycle.body += self._received[:length]
                self._drop_received(length)
            self.cycle.more_body = False
            if self.expect_100_continue:
                self.cycle.message_event.set()
            else:
                self.cycle.body_arrived = True  # type: ignore[attr-defined]
            if not (length or self.parser.should_upgrade()):
                return
        else:
            self._body, self._body_bytes = ChunkedFraming() if length is None else LengthFraming(length), 0
            self._wait_for(BODY)
        # The parser expects a body, or another protocol.
        self.parser = httptools.HttpRequestParser(self)

    def _body_length(self) -> int | None:
        """Return the body's length, None if it is chunked.

        Leaves a refusal in `_refusal`.
        """
        length = coding = None
        hosts = 0
        for name, value in self.headers:
            if name == b"content-length":
                length = value
            elif name == b"transfer-encoding":
                coding = value if coding is None else b"several"
            elif name == b"host":
                hosts += 1
        version = self.parser.get_http_version()
        if not self._in_head:  # a second head before the end of the first
            self._refusal = refusals.MALFORMED
        elif hosts > 1 or (hosts == 0 and version == "1.1"):
            self._refusal = refusals.BAD_HOST
        elif version not in ("1.0", "1.1") or (coding is not None and (length is not None or version == "1.0")):
            self._refusal = refusals.MALFORMED
        elif coding is not None and coding.lower() != b"chunked":
            self._refusal = refusals.UNKNOWN_CODING
        elif length is not None and not (length.isdigit() and len(length) < 16):
            self._refusal = refusals.MALFORMED
        if coding is not None:
            return None
        return 0 if length is None or self._refusal is not None else int(length)

    def on_body(self, body: bytes) -> None:
        """Do nothing: the parser never gets a body."""

    def on_message_complete(self) -> None:
        """Do nothing: `body_framing` knows where a message ends."""

    def _take_body(self, framing: BodyFraming, max_steps: int) -> None:
        """Give the received part of the body to the application."""
        try:
            part, count = framing.take(self._received, max_steps)
        except FramingError as error:
            self._refuse(refusals.malformed(str(error)))
            return
        self._drop_received(count)
        cycle = self.cycle
        self._body_bytes += len(part)
        if framing.done:
            self._body = None
        if cycle.response_complete:
            self._drop(len(part))
            self._wait_for(IDLE if framing.done else BODY)
            return
        cycle.body += part
        if framing.done:
            cycle.more_body, self._phase = False, ANSWER
        else:
            self._wait_for(BODY)
            if len(cycle.body) > HIGH_WATER_LIMIT:
                self.flow.pause_reading()
        cycle.message_event.set()

    def on_response_complete(self) -> None:
        """Continue with the next request on this connection."""
        self.server_state.total_requests += 1
        self._served = True
        self._refused = self._writes.refused
        if self._refused:
            self._writes.refused = False
            self._refusals.take()
        if self._in_slot:
            self._in_slot = False
            self._slots.answered()
        if self.transport.is_closing():
            return
        if self._body is None:
            self._phase, self._since = IDLE, self.loop.time()
        elif self.expect_100_continue and not self._body_bytes:
            self.transport.close()  # nobody knows whether the body will come
            return
        else:
            self._wait_for(BODY)
        if self._received:
            self._continue_later()
        elif self.flow.read_paused:
            self.flow.release()
            self.flow.resume_reading()
