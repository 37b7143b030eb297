"""Made-up logs whose best possible recommender has a computed accuracy.

Items lie in clusters. Each event but the `noise` ones depends on the last two: one of them is chosen, and the item is
in its cluster or in one of the next two clusters, at a Zipf-distributed rank. Noise is uniform over all items. No
state is hidden, so the oracle knows the probability of every next item from the history alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

CUTOFF = 10
SHIFTS = 3  # an item is in the cluster of an earlier one, or one of the following
I64 = NDArray[np.int64]
F64 = NDArray[np.float64]
_TOLERANCE = 1e-9


@dataclass(frozen=True, slots=True)
class KnownTruth:
    """Parameters of a made-up log.

    Attributes:
        items: size of the catalogue.
        users: number of users.
        events_per_user: mean length of a history, at least 5.
        clusters: number of clusters, 0 for one for each 1,000 items and at least 30.
        zipf: exponent of the popularity within a cluster.
        noise: fraction of events that depend on nothing.
        recency: probability that an event follows the last one and not the last but one.
        seed: seed of the log.
    """

    items: int = 10_000
    users: int = 10_000
    events_per_user: float = 25.0
    clusters: int = 0
    zipf: float = 1.3
    noise: float = 0.2
    recency: float = 0.6
    seed: int = 1

    @property
    def cluster_count(self) -> int:
        """Number of clusters; item i is in cluster i modulo this."""
        return self.clusters or max(30, self.items // 1000)

    @property
    def rank_probabilities(self) -> F64:
        """Probability of each rank in a cluster, best first."""
        weights: F64 = np.arange(1, self.items // self.cluster_count + 1, dtype=np.float64) ** -self.zipf
        weights /= weights.sum()
        return weights


@dataclass(frozen=True, slots=True)
class MadeUpLog:
    """Histories of all users, one after the other, each oldest first.

    Attributes:
        items: (N,) items from 0.
        offsets: (U + 1,) user u's events are items[offsets[u]:offsets[u + 1]].
    """

    items: I64
    offsets: I64

    def write(self, file: Path) -> None:
        """Write lines of `user item item …`."""
        with file.open("w", encoding="ascii") as lines:
            for user, (start, end) in enumerate(zip(self.offsets[:-1], self.offsets[1:], strict=True)):
                lines.write(f"u{user} " + " ".join(f"i{item}" for item in self.items[start:end].tolist()) + "\n")


def make_log(truth: KnownTruth) -> MadeUpLog:
    """Draw a log; equal parameters give an equal log."""
    rng = np.random.default_rng(truth.seed)
    lengths = 5 + rng.poisson(truth.events_per_user - 5, truth.users)
    clusters, ranks = truth.cluster_count, truth.rank_probabilities
    steps = np.zeros((int(lengths.max()), truth.users), np.int64)
    # Before the first event: an event in a cluster of the user's own.
    before = rng.integers(0, clusters, (2, truth.users))
    cumulative = np.cumsum(ranks)
    for step in range(len(steps)):
        context = np.where(rng.random(truth.users) < truth.recency, before[1], before[0])
        cluster = (context + rng.integers(0, SHIFTS, truth.users)) % clusters
        rank = np.minimum(np.searchsorted(cumulative, rng.random(truth.users), side="right"), len(ranks) - 1)
        uniform = rng.integers(0, len(ranks) * clusters, truth.users)
        steps[step] = np.where(rng.random(truth.users) < truth.noise, uniform, rank * clusters + cluster)
        before = np.stack([before[1], steps[step] % clusters])
    kept = np.arange(len(steps))[:, None] < lengths
    return MadeUpLog(steps.T[kept.T], np.concatenate([[0], np.cumsum(lengths)]))


def oracle_accuracy(truth: KnownTruth, log: MadeUpLog) -> dict[str, float]:
    """Return the oracle's expected NDCG@10 and HR@10 on each user's last event.

    The oracle ranks all items by their probability; items of equal probability stand in random order.
    """
    last = log.offsets[1:] - 1
    clusters, ranks = truth.cluster_count, truth.rank_probabilities
    gains, hits = np.zeros(len(last)), np.zeros(len(last))
    for number, end in enumerate(last.tolist()):
        chances: dict[int, float] = {}
        for back, probability in ((1, truth.recency), (2, 1 - truth.recency)):
            for shift in range(SHIFTS):
                cluster = int(log.items[end - back] + shift) % clusters
                chances[cluster] = chances.get(cluster, 0.0) + probability / SHIFTS
        target = int(log.items[end])
        mine = chances.get(target % clusters, 0.0) * ranks[target // clusters]
        if mine > 0:
            gains[number], hits[number] = _expected_gain(mine, list(chances.values()), ranks)
    return {"ndcg@10": float(gains.mean()), "hr@10": float(hits.mean())}


def _expected_gain(mine: float, chances: list[float], ranks: F64) -> tuple[float, float]:
    """Return the expected gain and hit of an item with probability `mine`."""
    above, not_below = (
        sum(int(np.searchsorted(-chance * ranks, -mine * factor)) for chance in chances)
        for factor in (1 + _TOLERANCE, 1 - _TOLERANCE)
    )
    equal = not_below - above
    positions = np.arange(above, above + equal)
    inside = positions < CUTOFF
    return float((inside / np.log2(positions + 2)).mean()), float(inside.mean())
