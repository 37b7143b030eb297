"""What the users do: requests made from real histories, or from a synthetic catalogue with Zipf's popularity."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from loadtests.generator.http_client import SERIAL, Request, make_request

# How many items an anonymous session has when it asks without being stored.
SESSION = 8
# Share of each kind of request in mixed traffic. Heavy users are the hundredth of users with the longest histories.
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

    def heavy(self) -> list[int]:
        """The hundredth of users with the longest histories, at least one."""
        order = sorted(range(len(self.of_user)), key=lambda user: -len(self.of_user[user]))
        return order[: max(1, len(order) // 100)]


def read_histories(path: Path, known: Sequence[str]) -> Histories:
    """Histories from `user item item …` lines, without items that the bundle does not know."""
    catalogue = set(known)
    with path.open(encoding="utf-8") as file:
        lines = ([item for item in line.split()[1:] if item in catalogue] for line in file)
        return Histories([items for items in lines if items])


def zipf_histories(known: Sequence[str], users: int, seed: int) -> Histories:
    """Histories of 20 to 500 events (long ones are rare) of items with Zipf's popularity, exponent 1."""
    random = np.random.default_rng(seed)
    weights = 1 / np.arange(1, len(known) + 1)
    # Which item is popular is shuffled, so that popularity says nothing of an item's place in the catalogue.
    order = random.permutation(len(known))
    lengths = np.minimum(500, 20 + random.pareto(1.2, users) * 40).astype(int)
    ranks = np.searchsorted(np.cumsum(weights) / weights.sum(), random.random(int(lengths.sum())))
    items = order[np.minimum(ranks, len(known) - 1)]
    parts = np.split(items, np.cumsum(lengths)[:-1])
    return Histories([[known[row] for row in part] for part in parts])


def event_request(kind: str, user_id: str, item_id: str, run: str, k: int = 10) -> Request:
    """An event that asks for `k` recommendations, with an event id that no other sending has."""
    body = {"user_id": user_id, "item_id": item_id, "event_id": f"{run}-{SERIAL.decode()}"}
    return make_request(kind, "POST", f"/v1/events?k={k}", body)


def event_requests(histories: Histories, count: int, run: str, seed: int) -> list[Request]:
    """Events alone: users at random, each user's items in the order of the history."""
    random = np.random.default_rng(seed)
    return [_event("event", histories, int(user), run, n) for n, user in _draw(histories, count, random)]


def mixed_requests(histories: Histories, count: int, run: str, seed: int) -> list[Request]:
    """Reads and writes of usual, heavy, new and anonymous users in the shares of MIX."""
    random = np.random.default_rng(seed)
    kinds = random.choice(len(MIX), count, p=list(MIX.values()))
    heavy = histories.heavy()
    requests = []
    for n, user in _draw(histories, count, random):
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
            body = {"history": list(items[:SESSION]), "k": 10}
            requests.append(make_request(kind, "POST", "/v1/recommendations", body))
    return requests


def history_requests(histories: Histories, count: int, length: int, path: str, seed: int) -> list[Request]:
    """What a service without state is sent: the last `length` items, shorter histories repeated to that length."""
    random = np.random.default_rng(seed)
    requests = []
    for n, user in _draw(histories, count, random):
        items = histories.of_user[user]
        start = n % len(items)
        window = [items[(start + place) % len(items)] for place in range(length)]
        requests.append(make_request("history", "POST", path, {"history": window}))
    return requests


def _event(kind: str, histories: Histories, user: int, run: str, n: int) -> Request:
    items = histories.of_user[user]
    return event_request(kind, f"{run}-{user}", items[n % len(items)], run)


def _draw(histories: Histories, count: int, random: np.random.Generator) -> list[tuple[int, int]]:
    return list(enumerate(random.integers(0, len(histories.of_user), count).tolist()))
