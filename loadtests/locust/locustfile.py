"""Locust users that wait between requests: sessions, heavy, new and anonymous users.

    PYTHONPATH=. locust -f loadtests/locust/locustfile.py --host http://127.0.0.1:8000

open_loop.py sends at a target rate instead. To load the machine, use `python -m loadtests.cli`: its generator takes a
fraction of locust's CPU (decision 0032).
"""

from __future__ import annotations

import os
import random
import time
import uuid
from pathlib import Path

from locust import FastHttpUser, between, task

from loadtests.environment.servers import DEMO_BUNDLE
from loadtests.generator.workload import SESSION_ITEMS, Histories, read_histories, zipf_histories
from model.bundle.bundle import load_bundle

DATA, BUNDLE = "LOADTEST_DATA", "LOADTEST_BUNDLE"
RUN = uuid.uuid4().hex[:8]


def _histories() -> Histories:
    """Return the histories in the file LOADTEST_DATA, or synthetic ones."""
    bundle = Path(os.environ.get(BUNDLE, str(DEMO_BUNDLE)))
    ids = [item.item_id for item in load_bundle(bundle).items]
    return read_histories(Path(os.environ[DATA]), ids) if DATA in os.environ else zipf_histories(ids, 2_000, 1)


HISTORIES = _histories()
HEAVY_USERS = HISTORIES.heavy_users()


class ApiUser(FastHttpUser):
    """Base class: requests to the service."""

    abstract = True

    def post_event(self, user_id: str, item_id: str, due: float | None = None) -> None:
        """Post an event and ask for ten items.

        Args:
            user_id: the user.
            item_id: the item.
            due: `time.perf_counter()` from which latency counts, instead of the send.
        """
        body = {"user_id": user_id, "item_id": item_id, "event_id": uuid.uuid4().hex}
        with self.client.post("/v1/events?k=10", json=body, name="event", catch_response=True) as response:
            if due is not None:
                response.request_meta["response_time"] = (time.perf_counter() - due) * 1e3

    def read(self, user_id: str, name: str = "read", due: float | None = None) -> None:
        """Ask for ten items.

        `name` is the group in the statistics, `due` is as in `post_event`.
        """
        path = f"/v1/users/{user_id}/recommendations?k=10"
        with self.client.get(path, name=name, catch_response=True) as response:
            if due is not None:
                response.request_meta["response_time"] = (time.perf_counter() - due) * 1e3


class SessionUser(ApiUser):
    """Sends one history event by event, and reads recommendations in between."""

    weight = 6
    wait_time = between(0.5, 2)

    def on_start(self) -> None:
        """Choose a history."""
        number = random.randrange(len(HISTORIES.of_user))
        self._user_id, self._items, self._next = f"{RUN}-{number}", HISTORIES.of_user[number], 0

    @task(3)
    def next_event(self) -> None:
        """Post the next item of the history."""
        self.post_event(self._user_id, self._items[self._next % len(self._items)])
        self._next += 1

    @task(1)
    def read_recommendations(self) -> None:
        """Read without an event."""
        self.read(self._user_id)


class HeavyUser(SessionUser):
    """Sends one of the longest histories, fast.

    Several of them share a user.
    """

    weight = 1
    wait_time = between(0.05, 0.3)

    def on_start(self) -> None:
        """Choose a long history and a position in it."""
        number = random.choice(HEAVY_USERS)
        self._user_id, self._items = f"{RUN}-{number}", HISTORIES.of_user[number]
        self._next = random.randrange(len(self._items))


class NewUser(ApiUser):
    """Unknown user: a cold read and up to three events."""

    weight = 2
    wait_time = between(0.5, 2)

    @task
    def first_session(self) -> None:
        """Read, then post the first events."""
        user_id = f"{RUN}-new-{uuid.uuid4().hex}"
        items = random.choice(HISTORIES.of_user)
        self.read(user_id, "cold read")
        for item_id in items[: random.randint(1, 3)]:
            self.post_event(user_id, item_id)


class AnonymousUser(ApiUser):
    """Sends the session's items with the request; nothing is stored."""

    weight = 1
    wait_time = between(0.5, 2)

    @task
    def recommend_for_session(self) -> None:
        """Ask for ten items after a few."""
        history = list(random.choice(HISTORIES.of_user)[:SESSION_ITEMS])
        self.client.post("/v1/recommendations", json={"history": history, "k": 10}, name="session")
