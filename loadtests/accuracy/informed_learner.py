"""Bound of what can be learnt from a made-up log.

The oracle of `known_truth` knows the cluster of every item. No learner does: it sees an item's events only. The
informed learner knows the rule, all ranks, and the clusters of all items but the one at hand. It infers that item's
cluster from the events beside the item's training events, by Bayes' rule. So no learner is better on average.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from loadtests.accuracy.known_truth import CUTOFF, F64, I64, SHIFTS, KnownTruth, MadeUpLog

HELD_OUT = 2  # the last events of each user, which training does not see
_EVENTS = 10_000  # at a time
_USERS = 500
# Entries of the table of items and clusters; larger logs would take gigabytes.
MAX_ENTRIES = 100_000_000


def informed_ndcg(truth: KnownTruth, log: MadeUpLog, max_users: int = 5_000) -> float:
    """Return the informed learner's expected NDCG@10 on last events.

    Raises:
        ValueError: the log has more than `MAX_ENTRIES` pairs of item and cluster.
    """
    clusters, ranks = truth.cluster_count, truth.rank_probabilities
    items = len(ranks) * clusters
    if items * clusters > MAX_ENTRIES:
        raise ValueError(f"{items:,} items of {clusters:,} clusters are too many")
    belief = cluster_belief(truth, log)
    popularity, cluster_of = np.repeat(ranks, clusters), np.arange(items) % clusters
    weighted = belief * popularity[:, None]
    discounts = 1 / np.log2(np.arange(2, CUTOFF + 2))
    last = log.offsets[1:][:max_users] - 1
    gains = []
    for part in np.array_split(last, -(-len(last) // _USERS)):
        one, two = log.items[part - 1], log.items[part - 2]
        found = _next_clusters(truth, belief[one], belief[two]) @ weighted.T
        best = np.argpartition(-found, CUTOFF, 1)[:, :CUTOFF]
        best = np.take_along_axis(best, np.argsort(-np.take_along_axis(found, best, 1), 1), 1)
        certain = np.eye(clusters)
        chances = _next_clusters(truth, certain[one % clusters], certain[two % clusters])
        true = np.take_along_axis(chances, cluster_of[best], 1) * popularity[best] * (1 - truth.noise)
        gains.append((true + truth.noise / items) @ discounts)
    return float(np.concatenate(gains).mean())


def cluster_belief(truth: KnownTruth, log: MadeUpLog) -> F64:
    """Return the probability (V, C) of each item's cluster.

    An item without events may be in any cluster.
    """
    clusters, ranks = truth.cluster_count, truth.rank_probabilities
    lengths = np.diff(log.offsets)
    position = np.arange(len(log.items)) - np.repeat(log.offsets[:-1], lengths)
    left = np.repeat(lengths - HELD_OUT, lengths) - position - 1  # training events after this one
    logarithms = np.zeros((len(ranks) * clusters, clusters))
    trained = np.flatnonzero(left >= 0)
    for events in np.array_split(trained, -(-len(trained) // _EVENTS)):
        found = np.zeros((len(events), clusters))
        _add(found, position[events] >= 2, truth, log.items, events, role=0)
        _add(found, (left[events] >= 1) & (position[events] >= 1), truth, log.items, events, role=1)
        _add(found, left[events] >= 2, truth, log.items, events, role=2)
        np.add.at(logarithms, log.items[events], found)
    belief: F64 = np.exp(logarithms - logarithms.max(1, keepdims=True))
    belief /= belief.sum(1, keepdims=True)
    return belief


def _add(found: F64, chosen: NDArray[np.bool_], truth: KnownTruth, items: I64, events: I64, role: int) -> None:
    """Add an event's log-probability under each cluster of an item.

    The event is the item's own (role 0), the next one (1), or the one after that (2). The other items' clusters are
    known.
    """
    clusters, ranks = truth.cluster_count, truth.rank_probabilities
    event = events[chosen] + role
    every = np.arange(clusters)[None]
    target, last, before = (every if role == back else (items[event - back] % clusters)[:, None] for back in range(3))
    follows = truth.recency * ((target - last) % clusters < SHIFTS)
    follows = follows + (1 - truth.recency) * ((target - before) % clusters < SHIFTS)
    chance = ranks[np.minimum(items[event] // clusters, len(ranks) - 1)][:, None] * follows / SHIFTS
    uniform = truth.noise / (len(ranks) * clusters)
    found[chosen] += np.log((1 - truth.noise) * chance + uniform)


def _next_clusters(truth: KnownTruth, last: F64, before: F64) -> F64:
    """Return the probability (N, C) of the next event's cluster without noise."""
    mixed = truth.recency * last + (1 - truth.recency) * before
    total: F64 = sum((np.roll(mixed, shift, 1) for shift in range(SHIFTS)), np.zeros_like(mixed)) / SHIFTS
    return total
