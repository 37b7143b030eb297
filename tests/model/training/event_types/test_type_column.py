"""Types of events through histories, splits, training rows, training and evaluation."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch

from model.bundle.bundle import load_bundle
from model.bundle.event_types import EventType
from model.config import ModelConfig
from model.ranking_metrics import discounted_gains
from model.training.data.history_builder import HistoryBuilder
from model.training.data.interactions import Interactions
from model.training.data.time_split import timeline_of
from model.training.evaluation.leave_one_out import leave_one_out
from model.training.evaluation.model_comparison import ComparedModel, evaluate_held_out, evaluate_last_events
from model.training.evaluation.next_event_ranking import PredictionTask, rank_next_events
from model.training.event_types.type_column import TypeColumn
from model.training.publishing.bundle_writer import write_network_bundle
from model.training.trainer.hyperparameters import Hyperparameters
from model.training.trainer.sequence_packing import SequencePacker
from model.training.trainer.soft_targets import compute_soft_targets
from model.training.trainer.trainer import Trainer
from model.training.trainer.training_run import TrainingRun
from tests.model.builders import network_of, random_weights
from tests.model.training.histories import histories_of_lengths

RULES = {
    "view": EventType("replayed", 1.0, True),
    "purchase": EventType("replayed", 3.0, True),
    "dislike": EventType("replayed", -0.5, False),
}
CONFIG = ModelConfig(items=20, dim=8, event_types=3)


def typed(lengths: list[int], items: int = 20, seed: int = 1) -> Interactions:
    """Random histories of random types."""
    data = histories_of_lengths(lengths, items, seed)
    codes = np.random.default_rng(seed).integers(0, 3, len(data.rows)).astype(np.uint8)
    return replace(data, types=TypeColumn(codes, RULES))


def test_builder_sorts_types_with_their_events() -> None:
    builder = HistoryBuilder(None)
    users, items = pa.array(["b", "a", "b", "a", "b"]), pa.array(["1", "2", "3", "4", "5"])
    builder.add(users, items, np.array([3, 1, 2, 0, 1]), None, pa.array(["buy", None, "", "view", "buy"]))
    builder.add(pa.array(["a"]), pa.array(["6"]), np.array([9]))
    found = builder.build()
    assert found.types is not None
    names = list(found.types.rules)
    assert names == ["view", "buy"]
    by_user = {
        user: [(found.item_ids[row - 1], names[code]) for row, code in zip(found.rows[own], codes[own], strict=True)]
        for codes in [found.types.codes]
        for user, own in zip(found.user_ids, map(slice, found.offsets, found.offsets[1:]), strict=False)
    }
    assert by_user == {
        "a": [("4", "view"), ("2", "view"), ("6", "view")],
        "b": [("5", "buy"), ("3", "view"), ("1", "buy")],
    }


def test_events_without_types_have_no_column() -> None:
    builder = HistoryBuilder(None)
    builder.add(pa.array(["a", "a"]), pa.array(["1", "2"]), None, None, pa.array(["view", None]))
    assert builder.build().types is None


def test_types_follow_their_events_through_splits() -> None:
    data = typed([5, 1, 4])
    assert data.types is not None
    shorter = data.without_last(2)
    assert shorter.types is not None
    assert shorter.types.codes.tolist() == [*data.types.codes[:3], *data.types.codes[6:8]]
    assert data.summary()["types"] == data.types.counts()
    builder = HistoryBuilder(None)
    names = pa.array(["view", "buy", "view", "buy", "buy", "view"])
    times = np.array([1.0, 2.0, 3.0, 1.0, 2.5, 9.0])
    builder.add(pa.array(list("aaabbb")), pa.array(list("123123")), np.array([1, 2, 3, 1, 2, 3]), times, names)
    before = timeline_of(builder.build(), now=10.0).before(3.0)
    assert before.types is not None
    assert before.types.codes.tolist() == [0, 1, 1, 1]


@pytest.mark.parametrize("start_token", [True, False])
def test_training_rows_have_the_input_s_type_and_the_target_s_weight(start_token: bool) -> None:
    data = typed([7, 1, 30, 2, 64])
    assert data.types is not None
    packer = SequencePacker(data, 16, 2, start_token, torch.device("cpu"))
    total = 0.0
    for batch in packer.epoch(torch.Generator().manual_seed(1)):
        for n in torch.nonzero(batch.targets).tolist():
            event, code = int(batch.events[*n]), int(batch.types[*n])
            begins = bool(batch.starts[*n]) and start_token
            assert code == (0 if begins else data.types.codes[event - 1])
            weight = float(batch.weights[*n])
            total += abs(weight)
            assert weight == pytest.approx(
                float(data.types.weights[data.types.codes[event]]) / mean_weight(data), rel=1e-5
            )
    if start_token:
        assert total / packer.targets == pytest.approx(1.0, rel=1e-5)


def mean_weight(data: Interactions) -> float:
    assert data.types is not None
    return float(np.abs(data.types.weights)[data.types.codes].mean())


def test_ranks_use_the_types_before_the_target() -> None:
    network = network_of(CONFIG, random_weights(CONFIG, seed=2))
    data = typed([2, 9, 30, 3])
    assert data.types is not None
    codes = data.types.codes.astype(np.int64)
    expected = []
    for start, stop in zip(data.offsets[:-1], data.offsets[1:], strict=True):
        rows, types = [0, *data.rows[start : stop - 1].tolist()], [0, *codes[start : stop - 1].tolist()]
        with torch.no_grad():
            output = network(torch.tensor([rows]), types=torch.tensor([types]))[0][0, -1]
        scores = network.item_embedding.weight @ output
        expected.append(1 + int((scores[1:] > scores[int(data.rows[stop - 1])]).sum()))
    ranks = leave_one_out(network, data)
    by_length = np.argsort(data.lengths, kind="stable")
    assert ranks.kept.tolist() == np.array(expected)[by_length].tolist()
    task = PredictionTask(data.rows.astype(np.int64), data.offsets, data.lengths - 1, codes)
    assert rank_next_events(network, data.popularity(), task).tolist() == expected
    last = codes[data.offsets[1:] - 1][by_length]
    gains, weights = discounted_gains(ranks.kept, 10), np.array([1.0, 3.0, 0.0])[last]
    assert ranks.validation_score() == pytest.approx(float(gains @ weights / weights.sum()))
    metrics = ranks.metrics()
    assert metrics["ndcg@10"] == pytest.approx(gains[last < 2].mean())
    for name, number in (("view", 0), ("purchase", 1)):
        if (last == number).any():
            assert metrics[f"type_{name}_ndcg@10"] == pytest.approx(gains[last == number].mean())
    assert not any("dislike" in name for name in metrics)
    live = evaluate_last_events(ComparedModel.of_training(network, data), data)
    assert live["ndcg@10"] == pytest.approx(metrics["ndcg@10"])


def test_events_that_a_model_does_not_replay_are_no_context() -> None:
    network = network_of(CONFIG, random_weights(CONFIG, seed=2))
    rows, types = np.array([3, 5, 7, 9]), np.array([0, -1, 1, 2])
    without = PredictionTask(np.array([3, 7, 9]), np.array([0, 3]), np.array([2]), np.array([0, 1, 2]))
    found = rank_next_events(
        network, np.ones(21, np.int64), PredictionTask(rows, np.array([0, 4]), np.array([3]), types)
    )
    assert found.tolist() == rank_next_events(network, np.ones(21, np.int64), without).tolist()


def test_comparison_weighs_held_out_events_by_type() -> None:
    network = network_of(CONFIG, random_weights(CONFIG, seed=2))
    builder = HistoryBuilder(None)
    draw = np.random.default_rng(5)
    names = pa.array([("view", "purchase", "dislike")[n] for n in draw.integers(0, 3, 90)])
    items, users = pa.array([str(n) for n in draw.integers(0, 20, 90)]), pa.array([f"u{n % 9}" for n in range(90)])
    builder.add(users, items, np.arange(90), np.arange(90.0), names)
    timeline = timeline_of(builder.build(), now=100.0)
    assert timeline.types is not None
    model = ComparedModel(network, timeline.item_ids, np.ones(21, np.int64), timeline.types.rules)
    held_out = timeline.times >= 60
    plain = replace(timeline, types=None)
    weighted, unweighted = (evaluate_held_out(model, each, held_out) for each in (timeline, plain))
    assert 0 <= weighted["ndcg@10"] <= 1 and weighted["ndcg@10"] != unweighted["ndcg@10"]
    dislikes = held_out & (timeline.types.codes == list(timeline.types.rules).index("dislike"))
    assert evaluate_held_out(model, timeline, dislikes)["ndcg@10"] == 0.0  # they have no weight


def test_model_with_types_learns_what_one_without_cannot(tmp_path: Path) -> None:
    """The next item follows from the type of the event alone."""
    draw = np.random.default_rng(1)
    codes = draw.integers(0, 2, (150, 12)).astype(np.uint8)
    rows = draw.integers(1, 21, codes.shape).astype(np.int32)
    rows[:, 1:] = 3 + 8 * codes[:, :-1]
    ids = [str(n) for n in range(20)]
    users, rules = [str(n) for n in range(150)], dict(list(RULES.items())[:2])
    data = Interactions(rows.ravel(), np.arange(151) * 12, ids, users, types=TypeColumn(codes.ravel(), rules))
    chosen = Hyperparameters(window=12, batch=16, epochs=20, learning_rate=2e-2, warmup_steps=5, evaluate_every=10)
    found = []
    for own in (data, replace(data, types=None)):
        config = ModelConfig(items=20, dim=8, layers=1, event_types=2 if own.types else 0)
        folder = tmp_path / str(config.event_types)
        folder.mkdir()
        trained = Trainer(TrainingRun(own, config, chosen, folder, torch.device("cpu"))).run(lambda _: None)
        found.append(float((leave_one_out(trained.network, own).kept == 1).mean()))
        if own.types is not None:
            write_network_bundle(tmp_path / "bundle", trained.network, own, trained.metrics, {})
            assert compute_soft_targets([trained.network], own).items.shape == (1800, 20)
    assert found[0] > 0.95
    assert found[1] < 0.7
    bundle = load_bundle(tmp_path / "bundle")
    assert bundle.event_types == rules
    assert not bundle.weights["type_embedding.weight"][0].any()
    assert bundle.weights["type_embedding.weight"][1].any()
