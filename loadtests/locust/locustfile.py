"""Locust scenarios: sessions over histories, heavy users, new users and readers, with a page to watch them on.

    locust -f loadtests/locust/locustfile.py --host http://127.0.0.1:8000                     users that wait and think

For a target rate there is locust_open.py, and for one that loads the machine `python -m loadtests.cli`, whose own
generator costs a fraction of locust's CPU.
"""

from __future__ import annotations

import os
import random
import time
import uuid
from pathlib import Path

from locust import FastHttpUser, between, task

from loadtests.generator.workload import Histories, read_histories, zipf_histories
from model.bundle.bundle import load_bundle

DATA, BUNDLE = "LOADTEST_DATA", "LOADTEST_BUNDLE"
RUN = uuid.uuid4().hex[:8]


def _histories() -> Histories:
    bundle = Path(os.environ.get(BUNDLE, str(Path(__file__).parents[2] / "bundles" / "ml-1m-demo")))
    ids = [item.item_id for item in load_bundle(bundle).items]
    return read_histories(Path(os.environ[DATA]), ids) if DATA in os.environ else zipf_histories(ids, 2_000, 1)


HISTORIES = _histories()
HEAVY = HISTORIES.heavy()


class Visitor(FastHttpUser):
    """What every user can do."""

    abstract = True

    def post_event(self, user_id: str, item_id: str, due: float | None = None) -> None:
        """Post an event and ask for ten items; with `due` (time.perf_counter) the latency counts from then."""
        body = {"user_id": user_id, "item_id": item_id, "event_id": uuid.uuid4().hex}
        with self.client.post("/v1/events?k=10", json=body, name="event", catch_response=True) as answer:
            if due is not None:
                answer.request_meta["response_time"] = (time.perf_counter() - due) * 1e3

    def read(self, user_id: str, name: str = "read", due: float | None = None) -> None:
        """Ask for ten items."""
        with self.client.get(f"/v1/users/{user_id}/recommendations?k=10", name=name, catch_response=True) as answer:
            if due is not None:
                answer.request_meta["response_time"] = (time.perf_counter() - due) * 1e3


class Session(Visitor):
    """Lives one history event by event, and looks again at what is recommended now and then."""

    weight = 6
    wait_time = between(0.5, 2)

    def on_start(self) -> None:
        """Choose whom to be."""
        number = random.randrange(len(HISTORIES.of_user))
        self._user_id, self._items, self._place = f"{RUN}-{number}", HISTORIES.of_user[number], 0

    @task(3)
    def next_event(self) -> None:
        """The next item of the history."""
        self.post_event(self._user_id, self._items[self._place % len(self._items)])
        self._place += 1

    @task(1)
    def look(self) -> None:
        """A read without an event."""
        self.read(self._user_id)


class HeavyUser(Session):
    """One of the longest histories, many tabs at once: several of these share a user."""

    weight = 1
    wait_time = between(0.05, 0.3)

    def on_start(self) -> None:
        """Choose whom to be."""
        number = random.choice(HEAVY)
        self._user_id, self._items = f"{RUN}-{number}", HISTORIES.of_user[number]
        self._place = random.randrange(len(self._items))


class NewUser(Visitor):
    """Nobody knows them: a cold read, and up to three events."""

    weight = 2
    wait_time = between(0.5, 2)

    @task
    def append_and_read(self) -> None:
        """One whole visit."""
        user_id = f"{RUN}-new-{uuid.uuid4().hex}"
        items = random.choice(HISTORIES.of_user)
        self.read(user_id, "cold read")
        for item_id in items[: random.randint(1, 3)]:
            self.post_event(user_id, item_id)


class Anonymous(Visitor):
    """A session that is not stored."""

    weight = 1
    wait_time = between(0.5, 2)

    @task
    def ask(self) -> None:
        """The last few items, and what next?"""
        history = list(random.choice(HISTORIES.of_user)[:8])
        self.client.post("/v1/recommendations", json={"history": history, "k": 10}, name="session")
