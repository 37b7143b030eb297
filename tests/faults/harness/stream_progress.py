"""Progress of a service that reads a stream, and kills."""

from __future__ import annotations

import time
from collections.abc import Callable

import redis

from tests.end_to_end.service import RunningService

GROUP = "recblr"
TIMEOUT_SECONDS = 120.0


class StreamProgress:
    """How far the service has read a stream."""

    def __init__(self, client: redis.Redis, stream: str) -> None:
        self._client = client
        self._stream = stream

    def unfinished(self) -> int:
        """Return the number of entries that are not read or not acknowledged."""
        [group] = self._client.xinfo_groups(self._stream)
        return int(group["lag"]) + int(group["pending"])

    def pending(self) -> int:
        """Return the number of entries that are read and not acknowledged."""
        return int(self._client.xpending(self._stream, GROUP)["pending"])

    def finished(self) -> int:
        """Return the number of acknowledged entries."""
        return int(self._client.xlen(self._stream)) - self.unfinished()

    def wait_for_sent_commands(self) -> None:
        """Wait until Redis has answered what a frozen service had sent."""
        for _ in range(2):  # Redis reads all connections before it answers the second command
            self._client.ping()

    def dead_letters(self) -> int:
        """Return the length of the dead-letter stream."""
        return int(self._client.xlen(f"{self._stream}:{GROUP}:dead"))


class Kills:
    """Results of the kills."""

    def __init__(self) -> None:
        self.unfinished = self.pending = self.amid_a_batch = 0
        self.recovery_seconds: list[float] = []

    def kill_and_restart(self, service: RunningService, stream: StreamProgress) -> None:
        """Kill all workers amid a batch, and restart the service.

        Returns when it reads on.
        """
        freeze_while_recording(service, stream)
        service.kill()
        started_at, left = time.monotonic(), stream.unfinished()
        self.unfinished += left
        pending = stream.pending()
        self.pending += pending
        self.amid_a_batch += pending > 0
        service.__enter__()
        wait_until(lambda: stream.unfinished() != left)
        self.recovery_seconds.append(time.monotonic() - started_at)


def freeze_while_recording(service: RunningService, stream: StreamProgress) -> None:
    """Freeze the service between reading a batch and acknowledging it.

    A kill at a random moment may hit no batch, and would prove nothing.
    """

    def is_frozen_amid_a_batch() -> bool:
        service.freeze()
        stream.wait_for_sent_commands()
        if stream.pending():
            return True
        assert stream.unfinished(), "the stream was read to its end before the kill; send more entries"
        service.thaw()
        return False

    wait_until(is_frozen_amid_a_batch)


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + TIMEOUT_SECONDS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)
