"""Prepared requests from real histories or from synthetic ones with Zipf popularity."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from loadtests.generator.http_client import SERIAL, Request, make_request

# Items of an anonymous session, which is sent with the request and not stored.
SESSION_ITEMS = 8
# Fraction of each kind of request in mixed traffic.
MIX = {
    "event": 0.55,
    "read": 0.2,
    "event of heavy user": 0.1,
    "first event": 0.05,
    "cold read": 0.05,
    "session": 0.05,
}


@dataclass(frozen=True, slots=True)
class Histories:
    """Item ids of each user, oldest first."""

    of_user: Sequence[Sequence[str]]

    def heavy_users(self) -> list[int]:
        """Return the 1 % of users with the longest histories.

        There is at least one.
        """
        order = sorted(range(len(self.of_user)), key=lambda user: -len(self.of_user[user]))
        return order[: max(1, len(order) // 100)]


def read_histories(path: Path, known_items: Sequence[str]) -> Histories:
    """Read `user item item …` lines, without unknown items."""
    catalogue = set(known_items)
    with path.open(encoding="utf-8") as file:
        lines = ([item for item in line.split()[1:] if item in catalogue] for line in file)
        return Histories([items for items in lines if items])


def zipf_histories(known_items: Sequence[str], users: int, seed: int) -> Histories:
    """Return synthetic histories with Zipf popularity and Pareto lengths.

    The exponent of the popularity is 1, lengths are 20 to 500.
    """
    random = np.random.default_rng(seed)
    weights = 1 / np.arange(1, len(known_items) + 1)
    # Popularity is independent of an item's row in the catalogue.
    order = random.permutation(len(known_items))
    lengths = np.minimum(500, 20 + random.pareto(1.2, users) * 40).astype(int)
    ranks = np.searchsorted(np.cumsum(weights) / weights.sum(), random.random(int(lengths.sum())))
    items = order[np.minimum(ranks, len(known_items) - 1)]
    parts = np.split(items, np.cumsum(lengths)[:-1])
    return Histories([[known_items[row] for row in part] for part in parts])


def event_request(kind: str, user_id: str, item_id: str, run: str, k: int = 10) -> Request:
    """Prepare an event that asks for `k` recommendations.

    Its event id is new at every send.
    """
    body = {"user_id": user_id, "item_id": item_id, "event_id": f"{run}-{SERIAL.decode()}"}
    return make_request(kind, "POST", f"/v1/events?k={k}", body)


def event_requests(histories: Histories, count: int, run: str, seed: int) -> list[Request]:
    """Prepare events of random users, in the order of their histories.

    Args:
        histories: the users.
        count: number of requests.
        run: prefix of user and event ids, so that runs on one store do not share users.
        seed: seed of the choice of users.
    """
    random = np.random.default_rng(seed)
    return [_event("event", histories, user, run, n) for n, user in _random_users(histories, count, random)]


def mixed_requests(histories: Histories, count: int, run: str, seed: int) -> list[Request]:
    """Prepare mixed reads and writes of all kinds of users.

    MIX gives the fraction of each kind.

    Args:
        histories: the users.
        count: number of requests.
        run: prefix of user and event ids, so that runs on one store do not share users.
        seed: seed of the choice of users and kinds.
    """
    random = np.random.default_rng(seed)
    kinds = random.choice(len(MIX), count, p=list(MIX.values()))
    heavy = histories.heavy_users()
    requests = []
    for n, user in _random_users(histories, count, random):
        kind = list(MIX)[kinds[n]]
        items = histories.of_user[user]
        if kind == "event":
            requests.append(_event(kind, histories, user, run, n))
        elif kind == "event of heavy user":
            requests.append(_event(kind, histories, heavy[user % len(heavy)], run, n))
        elif kind == "read":
            requests.append(make_request(kind, "GET", f"/v1/users/{run}-{user}/recommendations?k=10"))
        elif kind == "first event":
            requests.append(event_request(kind, f"{run}-new-{SERIAL.decode()}", items[0], run))
        elif kind == "cold read":
            requests.append(make_request(kind, "GET", f"/v1/users/{run}-none-{SERIAL.decode()}/recommendations?k=10"))
        else:
            body = {"history": list(items[:SESSION_ITEMS]), "k": 10}
            requests.append(make_request(kind, "POST", "/v1/recommendations", body))
    return requests


def history_requests(histories: Histories, count: int, length: int, path: str, seed: int) -> list[Request]:
    """Prepare requests to a stateless server, which is sent the whole history.

    Args:
        histories: the users.
        count: number of requests.
        length: items in each request; shorter histories repeat.
        path: path of the server's route.
        seed: seed of the choice of users.
    """
    random = np.random.default_rng(seed)
    requests = []
    for n, user in _random_users(histories, count, random):
        items = histories.of_user[user]
        window = [items[(n + position) % len(items)] for position in range(length)]
        requests.append(make_request("history", "POST", path, {"history": window}))
    return requests


def _event(kind: str, histories: Histories, user: int, run: str, n: int) -> Request:
    items = histories.of_user[user]
    return event_request(kind, f"{run}-{user}", items[n % len(items)], run)


def _random_users(histories: Histories, count: int, random: np.random.Generator) -> list[tuple[int, int]]:
    """Return (request number, user) pairs."""
    return list(enumerate(random.integers(0, len(histories.of_user), count).tolist()))
