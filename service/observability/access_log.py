"""Access log: one JSON line a request, written in groups.

A line of the `logging` module costs a tenth of an ordinary request. These lines are formatted by hand and
written every 50 ms; a process that is killed loses those of its last 50 ms.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from json.encoder import encode_basestring_ascii

FLUSH_SECONDS = 0.05
MAX_WRITE_CHARACTERS = 4096  # PIPE_BUF: longer writes of several workers to one pipe could mix within a line


class AccessLog:
    """Writes one line for each request.

    Args:
        write: Gets whole lines, at most `MAX_WRITE_CHARACTERS` at a time.
        clock: Unix seconds.
    """

    def __init__(self, write: Callable[[str], object], clock: Callable[[], float] = time.time) -> None:
        self._write = write
        self._clock = clock
        self._lines: list[str] = []
        self._second = 0
        self._second_text = ""

    def add(self, caller: str, method: str, route: str, status: int, seconds: float, request_id: str) -> None:
        """Log one request; only `request_id` is text of the client."""
        now = self._clock()
        second = int(now)
        if second != self._second:
            self._second, self._second_text = second, time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
        if not self._lines:
            asyncio.get_running_loop().call_later(FLUSH_SECONDS, self.flush)
        self._lines.append(
            f'{{"level": "INFO", "logger": "access", "message": "request", '
            f'"timestamp": "{self._second_text}.{int((now - second) * 1e6):06d}+00:00", "caller": "{caller}", '
            f'"method": "{method}", "route": "{route}", "status": {status}, "seconds": {seconds:.6f}, '
            f'"request_id": {encode_basestring_ascii(request_id)}}}\n'
        )

    def flush(self) -> None:
        """Write the lines that are waiting."""
        lines, self._lines = self._lines, []
        group: list[str] = []
        size = 0
        for line in lines:
            if size + len(line) > MAX_WRITE_CHARACTERS:
                self._write("".join(group))
                group, size = [], 0
            group.append(line)
            size += len(line)
        if group:
            self._write("".join(group))
