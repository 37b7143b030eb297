"""Simulated shop whose truth is known.

It has a funnel, drifting tastes, new items and position bias. A user comes in sessions, and does one thing after the
other:

    view      an item of the page that the shop shows, or one that fits the user's taste, or the last one again
    cart      the item viewed last, rather if it fits the taste
    dislike   the item viewed last, rather if it does not
    purchase  an item of the cart, the newest rather; the item viewed last; or one that fits the taste, unseen

A taste is three clusters of items, of which one is replaced now and then. Within a cluster, items are chosen by a
Zipf law over those that exist: some appear only later. The page is the same for all users for a while. A user looks
at its first places rather than its last, so that views say more of the page than of the taste. What a user carts,
buys and dislikes says more of the taste.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

TYPES = ("view", "cart", "purchase", "dislike")
VIEW, CART, PURCHASE, DISLIKE = range(len(TYPES))
CUTOFF = 10
F64 = NDArray[np.float64]
_TASTE = np.array([0.6, 0.25, 0.15])  # probabilities of a user's clusters
_SOURCES = np.array([0.6, 0.15, 0.25])  # of a purchase: cart, last view, taste
_RECENT = 0.6  # probability of the newest item of the cart, then of the one before, and so on


@dataclass(frozen=True, slots=True)
class Shop:
    """Parameters of a simulated shop.

    Attributes:
        users, items, clusters: numbers.
        events_per_user: mean length of a history.
        new_items: fraction of the items that appear while the log is written.
        drift: probability that a session begins with a cluster of the taste replaced.
        repeats: fraction of the views that are of the item viewed last.
        page_share: fraction of the views that are of the page.
        page_length, page_days: places of the page, and days that it is shown.
        days: length of the log.
        seed: seed of the log.
    """

    users: int = 1000
    items: int = 600
    clusters: int = 20
    events_per_user: float = 60.0
    new_items: float = 0.2
    drift: float = 0.1
    repeats: float = 0.35
    page_share: float = 0.35
    page_length: int = 20
    page_days: int = 3
    days: int = 60
    seed: int = 1


@dataclass(slots=True)
class ShopLog:
    """Histories of all users, one after the other, each oldest first.

    Attributes:
        items: (N,) items from 0.
        types: (N,) index into `TYPES`.
        times: (N,) days since the start.
        offsets: (U + 1,) begin of each user's events.
        oracle: (N,) expected gain of the best possible ranking for a purchase, NaN for other events.
        born: (items,) day from which an item exists.
    """

    items: NDArray[np.int64]
    types: NDArray[np.uint8]
    times: F64
    offsets: NDArray[np.int64]
    oracle: F64
    born: F64


@dataclass(slots=True)
class _User:
    """Hidden state of a user."""

    taste: NDArray[np.int64]
    cart: list[int] = field(default_factory=list)
    last: int = -1


class _Simulation:
    def __init__(self, shop: Shop) -> None:
        self.shop, self.rng = shop, np.random.default_rng(shop.seed)
        per_cluster = shop.items // shop.clusters
        self.rank = np.arange(shop.items) // shop.clusters  # item i is in cluster i modulo the clusters
        self.popularity = (1.0 + np.arange(per_cluster)) ** -1.0
        self.born = np.zeros(shop.items)
        new = self.rng.random(shop.items) < shop.new_items
        self.born[new] = self.rng.uniform(0, shop.days, int(new.sum()))
        self.pages = [self._page(day) for day in range(0, shop.days, shop.page_days)]

    def _page(self, day: int) -> NDArray[np.int64]:
        existing = np.flatnonzero(self.born <= day)
        return self.rng.choice(existing, self.shop.page_length, replace=False)

    def of_cluster(self, cluster: int, time: float) -> tuple[NDArray[np.int64], F64]:
        """Return the existing items of a cluster, and their probabilities."""
        items = np.arange(cluster, self.shop.clusters * len(self.popularity), self.shop.clusters)
        weights = np.where(self.born[items] <= time, self.popularity, 0.0)
        return items, weights / max(weights.sum(), 1e-12)

    def _fitting(self, user: _User, time: float) -> int:
        items, chances = self.of_cluster(int(self.rng.choice(user.taste, p=_TASTE)), time)
        return int(self.rng.choice(items, p=chances)) if chances.sum() > 0 else int(items[0])

    def fits(self, user: _User, item: int) -> bool:
        """Return whether an item is of the user's taste."""
        return item % self.shop.clusters in user.taste

    def view(self, user: _User, time: float) -> int:
        """Draw the item of a view."""
        kind = self.rng.random()
        if kind < self.shop.repeats and user.last >= 0:
            return user.last
        if kind < self.shop.repeats + self.shop.page_share:
            page = self.pages[min(int(time) // self.shop.page_days, len(self.pages) - 1)]
            seen = 1.0 / np.arange(1, len(page) + 1)
            return int(self.rng.choice(page, p=seen / seen.sum()))
        return self._fitting(user, time)

    def chances(self, user: _User, time: float) -> dict[int, float]:
        """Return the probability of each item that may be bought next."""
        sources = _SOURCES * [bool(user.cart), user.last >= 0, True]
        sources /= sources.sum()
        found: dict[int, float] = {}
        for cluster, share in zip(user.taste.tolist(), _TASTE, strict=True):
            for item, chance in zip(*self.of_cluster(cluster, time), strict=True):
                found[int(item)] = found.get(int(item), 0.0) + sources[2] * share * chance
        for item, chance in zip(reversed(user.cart), _cart_chances(len(user.cart)), strict=True):
            found[item] = found.get(item, 0.0) + sources[0] * chance
        if user.last >= 0:
            found[user.last] = found.get(user.last, 0.0) + sources[1]
        return found

    def history(self, rng: np.random.Generator) -> list[tuple[int, int, float, float]]:
        """Simulate one user.

        Returns item, type, time and the oracle's gain of every event.
        """
        shop = self.shop
        events: list[tuple[int, int, float, float]] = []
        user = _User(rng.choice(shop.clusters, len(_TASTE), replace=False))
        length = max(10, int(rng.poisson(shop.events_per_user)))
        start = rng.uniform(0, shop.days * 0.6)
        while len(events) < length:
            start += rng.exponential(shop.days * 0.4 * 8 / shop.events_per_user)
            if start >= shop.days:
                break
            if rng.random() < shop.drift:
                user.taste = user.taste.copy()
                user.taste[rng.integers(0, len(_TASTE))] = rng.integers(0, shop.clusters)
            user.last = -1
            for step in range(1 + int(rng.poisson(7))):
                time = min(start + step / 1440, shop.days)
                events.append(self._event(user, time, rng))
        return events

    def _event(self, user: _User, time: float, rng: np.random.Generator) -> tuple[int, int, float, float]:
        kind, fits = rng.random(), user.last >= 0 and self.fits(user, user.last)
        if user.last >= 0 and kind < (0.35 if fits else 0.03) and user.last not in user.cart:
            user.cart.append(user.last)
            return user.last, CART, time, np.nan
        if user.last >= 0 and not fits and kind > 0.9:
            return user.last, DISLIKE, time, np.nan
        if kind > 0.88:
            chances = self.chances(user, time)
            items, shares = np.array([*chances]), np.array([*chances.values()])
            item = int(rng.choice(items, p=shares / shares.sum()))
            user.cart = [other for other in user.cart if other != item]
            return item, PURCHASE, time, _expected_gain(shares, float(chances[item]))
        user.last = self.view(user, time)
        return user.last, VIEW, time, np.nan


def simulate(shop: Shop) -> ShopLog:
    """Simulate a shop; equal parameters give an equal log."""
    simulation = _Simulation(shop)
    histories = [simulation.history(simulation.rng) for _ in range(shop.users)]
    columns: list[Any] = [*zip(*(event for history in histories for event in history), strict=True)]
    offsets = np.concatenate([[0], np.cumsum([len(history) for history in histories])])
    items, types, times, oracle = columns
    return ShopLog(
        np.array(items, np.int64),
        np.array(types, np.uint8),
        np.array(times, np.float64),
        offsets,
        np.array(oracle, np.float64),
        simulation.born,
    )


def _cart_chances(length: int) -> F64:
    """Return the probability of each item of the cart, newest first."""
    weights = _RECENT ** np.arange(length)
    chances: F64 = weights / max(weights.sum(), 1e-12)
    return chances


def _expected_gain(chances: F64, mine: float) -> float:
    """Return the expected gain of an item with probability `mine`.

    All items are ranked by probability, equal ones in random order.
    """
    above, equal = int((chances > mine * (1 + 1e-9)).sum()), int(np.isclose(chances, mine, rtol=1e-9, atol=0.0).sum())
    ranks = np.arange(above, above + max(1, equal))
    gains = np.where(ranks < CUTOFF, 1.0 / np.log2(ranks + 2.0), 0.0)
    return float(gains.mean())
