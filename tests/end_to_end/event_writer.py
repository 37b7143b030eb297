"""A client that sends events all the time, and retries elsewhere."""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Sequence

import httpx

from tests.end_to_end.service import KEY

USERS = 20


class EventWriter(threading.Thread):
    """Writer of events, with the acknowledged event ids by user.

    An event that one service does not acknowledge is sent to the next, as behind a balancer.
    """

    def __init__(self, *urls: str, key: str = KEY) -> None:
        super().__init__(daemon=True)
        self.acknowledged: dict[str, list[str]] = defaultdict(list)
        self.refused: list[int] = []  # status of each answer that is no success
        self.number = 0
        self.key = key
        self._urls = urls
        self._stop_requested = threading.Event()

    def run(self) -> None:
        with httpx.Client(timeout=10.0) as client:
            while not self._stop_requested.is_set():
                user, event = f"u{self.number % USERS}", f"e{self.number}"
                body = {"user_id": user, "item_id": str(1 + self.number % 50), "event_id": event}
                while not self._sent(client, self._urls, body):
                    time.sleep(0.05)
                self.acknowledged[user].append(event)
                self.number += 1

    def stop(self) -> None:
        self._stop_requested.set()
        self.join()

    def acknowledged_now(self) -> dict[str, list[str]]:
        """Return a copy of the acknowledged events."""
        return {user: list(events) for user, events in dict(self.acknowledged).items()}

    def _sent(self, client: httpx.Client, urls: Sequence[str], body: object) -> bool:
        for url in urls:
            try:
                answer = client.post(f"{url}/v1/events?k=3", json=body, headers={"X-API-Key": self.key})
            except httpx.TransportError:
                continue
            if answer.is_success:
                return True
            self.refused.append(answer.status_code)
        return False
