"""Live accuracy metrics equal the offline evaluation of the same events."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import httpx
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from model.bundle.bundle import Bundle, write_bundle
from model.config import ModelConfig
from model.network import RecBLR
from model.ranking_metrics import hit_rate, ndcg
from model.training.evaluation.next_event_ranking import PredictionTask, rank_next_events
from service.core.recommending.evaluation_sampling import MAX_EVALUATED, EvaluationSampler
from tests.end_to_end.service import KEY, RunningService
from tests.model.builders import bundle_of, network_of
from tests.observability.test_live_accuracy import Series, series, value

USERS, ITEMS, UNKNOWN = 24, 40, 4


def in_a_batch(user: int) -> bool:
    """Return whether `replay` sends the user's events in one batch."""
    return user % 3 == 2


@dataclass(frozen=True)
class Evaluated:
    """Ranks of one event by the network in float64."""

    cold: bool
    kept: int
    masked: int


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return bundle_of(ModelConfig(items=ITEMS, dim=8), seed=3)


@pytest.fixture(scope="module")
def histories() -> list[list[int]]:
    """Item rows of 3 to 14 events per user.

    Some items are repeated, and some are unknown to the model.
    """
    rng = np.random.default_rng(7)
    return [rng.integers(1, ITEMS + UNKNOWN + 1, rng.integers(3, 15)).tolist() for _ in range(USERS)]


def offline(bundle: Bundle, histories: list[list[int]], sampling: EvaluationSampler) -> list[list[Evaluated]]:
    """Rank every sampled event of a known item in float64.

    The result is grouped by user. A rank is computed from the events before it.
    """
    network = RecBLR(bundle.config).double().eval()
    network.load_state_dict({name: torch.from_numpy(a.astype(np.float64)) for name, a in bundle.weights.items()})
    evaluated: list[list[Evaluated]] = [[] for _ in histories]
    for user, rows in enumerate(histories):
        before = [0]
        with torch.no_grad():
            outputs, _ = network(torch.tensor([[0, *(row for row in rows if row <= ITEMS)]]))
            orders: NDArray[np.float64] = (outputs[0] @ network.item_embedding.weight.T).numpy()
        for sequence, row in enumerate(rows, start=1):
            if row > ITEMS:
                continue
            if sampling.selects(f"u{user}", sequence):
                scores = orders[len(before) - 1]
                assert (
                    np.abs(np.delete(scores, row) - scores[row]).min() > 1e-5
                )  # large enough for the same order in float32
                ahead = 1 + np.flatnonzero(scores[1:] > scores[row])
                masked = 0 if row in before else 1 + len(set(ahead.tolist()) - set(before))
                evaluated[user].append(Evaluated(len(before) == 1, 1 + len(ahead), masked))
            before.append(row)
    return evaluated


def means(ranks: list[int]) -> dict[str, float]:
    found = np.array([rank or np.inf for rank in ranks])
    hits = found <= 10
    gains = {"hr_at_10": hits, "ndcg_at_10": hits / np.log2(1 + found), "mrr": 1 / found}
    return {name: float(gain.mean()) for name, gain in gains.items()}


def replay(url: str, histories: list[list[int]]) -> None:
    """Send all events twice.

    Every third user sends events without `k`, with `k`, or in one batch.
    """
    for user, rows in enumerate(histories):
        events = [{"user_id": f"u{user}", "item_id": f"i{row}", "event_id": f"e{n}"} for n, row in enumerate(rows)]
        # A new connection per user, which either worker may accept.
        with httpx.Client(base_url=url, headers={"x-api-key": KEY}, timeout=30) as client:
            for _ in range(2):
                if in_a_batch(user):
                    client.post("/v1/events/batch", json={"events": events}).raise_for_status()
                for event in () if in_a_batch(user) else events:
                    query = "?k=5" if user % 3 else ""
                    client.post(f"/v1/events{query}", json=event).raise_for_status()


def metrics(service: RunningService, events: int) -> Series:
    """Return the metrics once all events are evaluated.

    The test waits a little longer, to find events that are counted twice.
    """
    deadline = time.monotonic() + 20
    while True:
        found = series(service.metrics())
        reported = sum(count for (name, _), count in found.items() if name == "recblr_accuracy_events_total")
        if reported >= events or time.monotonic() > deadline:
            break
        time.sleep(0.2)
    time.sleep(1.2)
    return series(service.metrics())


@pytest.mark.parametrize(("workers", "share"), [(1, 1.0), (2, 0.5)])
def test_metrics_equal_offline_evaluation(
    tmp_path: Path, bundle: Bundle, histories: list[list[int]], workers: int, share: float
) -> None:
    write_bundle(tmp_path / "bundle", bundle)
    sampled = offline(bundle, histories, EvaluationSampler(share))
    evaluated = [
        event for user, all_ in enumerate(sampled) for event in all_[-MAX_EVALUATED if in_a_batch(user) else 0 :]
    ]
    settings = {"RECBLR_WORKERS": str(workers), "RECBLR_ACCURACY_SAMPLE": str(share)}
    with RunningService(tmp_path, f"sqlite:///{tmp_path}/events.db", tmp_path / "bundle", **settings) as service:
        replay(service.url, histories)
        found = metrics(service, len(evaluated))
    for cold in (True, False):
        ours = [event for event in evaluated if event.cold == cold]
        group = {"version": "v1", "history": "cold" if cold else "warm"}
        assert value(found, "events_total", **group) == len(ours) > 5
        for seen in ("kept", "masked"):
            wanted = means([event.kept if seen == "kept" else event.masked for event in ours])
            for name, gain in (("hr_at_10", "hits"), ("ndcg_at_10", "ndcg"), ("mrr", "reciprocal_rank")):
                total = value(found, f"{gain}_total", **group, seen=seen)
                assert total / len(ours) == pytest.approx(wanted[name], abs=1e-9)
                for window in ("1000", "10000"):
                    mean = value(found, name, **group, seen=seen, window=window)
                    assert mean == pytest.approx(wanted[name], abs=1e-9)


def test_evaluation_of_trainer_gives_same_metrics(bundle: Bundle, histories: list[list[int]]) -> None:
    """The figures of `retrain` and of manifests are comparable with live accuracy."""
    rows = np.array([row if row <= ITEMS else 0 for history in histories for row in history], np.int64)
    offsets = np.cumsum([0, *map(len, histories)])
    network = network_of(bundle.config, bundle.weights)
    popularity = np.array([0, *(item.popularity for item in bundle.items)])
    task = PredictionTask(rows, offsets, np.zeros(len(histories), np.int64))
    ranks = rank_next_events(network, popularity, task)
    ranks = ranks[rows > 0]
    wanted = means([event.kept for user in offline(bundle, histories, EvaluationSampler(1.0)) for event in user])
    assert hit_rate(ranks, 10) == pytest.approx(wanted["hr_at_10"], abs=1e-9)
    assert ndcg(ranks, 10) == pytest.approx(wanted["ndcg_at_10"], abs=1e-9)
