"""The trainer on a CPU: it learns, it stops, and a run that was cut off ends where the whole one does."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from model.bundle.bundle import BundleError
from model.config import ModelConfig
from model.network import RecBLR
from model.training.data.interactions import DataError, Interactions
from model.training.evaluation.bundle_loader import load_network
from model.training.evaluation.leave_one_out import Ranks, leave_one_out
from model.training.publishing.bundle_writer import publish
from model.training.trainer.hyperparameters import Hyperparameters
from model.training.trainer.trainer import Trained, Trainer

CPU = torch.device("cpu")
ITEMS = 40
CONFIG = ModelConfig(items=ITEMS, dim=16, expansion=1, conv_width=3, layers=1)
SHORT = Hyperparameters(window=10, batch=16, epochs=6, learning_rate=5e-3, warmup_steps=5, evaluate_every=2, seed=3)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Networks this small gain nothing from a second thread, and lose much where cores are shared."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def markov(users: int, length: int, seed: int = 0) -> Interactions:
    """Histories in which an item is followed by one of two others, nearly always; some items are popular."""
    rng = np.random.default_rng(seed)
    after = rng.integers(1, ITEMS + 1, (ITEMS + 1, 2))
    popular = rng.permutation(np.arange(1, ITEMS + 1))
    rows = np.empty((users, length), np.int32)
    rows[:, 0] = rng.integers(1, ITEMS + 1, users)
    for t in range(1, length):
        follow = after[rows[:, t - 1], rng.integers(0, 2, users)]
        any_item = popular[np.minimum(rng.geometric(0.1, users) - 1, ITEMS - 1)]
        rows[:, t] = np.where(rng.random(users) < 0.9, follow, any_item)
    ids = [f"i{row}" for row in range(1, ITEMS + 1)]
    return Interactions(rows.ravel(), np.arange(users + 1) * length, ids, [str(user) for user in range(users)])


def train(
    folder: Path,
    data: Interactions,
    hyperparameters: Hyperparameters = SHORT,
    config: ModelConfig = CONFIG,
    stop_after: int = 0,
) -> tuple[Trained | None, list[dict[str, Any]]]:
    """A run in `folder`, cut off after the report of epoch `stop_after` if there is one."""
    lines: list[dict[str, Any]] = []

    def report(line: dict[str, Any]) -> None:
        lines.append(line)
        if line["epoch"] == stop_after:
            raise KeyboardInterrupt

    folder.mkdir(exist_ok=True)
    trainer = Trainer(data, config, hyperparameters, folder, CPU)
    try:
        return trainer.run(report), lines
    except KeyboardInterrupt:
        return None, lines


def weights(trained: Trained | None) -> dict[str, torch.Tensor]:
    assert trained is not None
    return dict(trained.network.state_dict())


def equal(a: Trained | None, b: Trained | None) -> bool:
    first, second = weights(a), weights(b)
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def by_popularity(data: Interactions) -> float:
    """NDCG@10 of answering everybody with the most frequent items."""
    order = np.argsort(-data.without_last(2).popularity()[1:], kind="stable") + 1
    rank_of = np.empty(ITEMS + 1, np.int64)
    rank_of[order] = np.arange(1, ITEMS + 1)
    ranks = rank_of[data.rows[data.offsets[1:] - 1]]
    return Ranks(ranks, ranks).metrics()["ndcg@10"]


@pytest.mark.parametrize("start_token", [True, False])
def test_the_loss_falls_and_the_model_beats_popularity(tmp_path: Path, start_token: bool) -> None:
    data = markov(users=200, length=20)
    hyperparameters = replace(SHORT, epochs=20, evaluate_every=10)
    trained, lines = train(tmp_path / "run", data, hyperparameters, replace(CONFIG, start_token=start_token))
    assert trained is not None
    losses = [line["loss"] for line in lines]
    assert [line["epoch"] for line in lines] == list(range(1, 21))
    assert losses[0] == pytest.approx(np.log(ITEMS + 1), abs=0.3)
    assert losses[-1] < 0.75 * losses[0]
    assert trained.metrics["ndcg@10"] > 1.3 * by_popularity(data)
    assert trained.metrics == leave_one_out(trained.network, data).metrics() | {
        "validation_ndcg@10": max(line.get("validation_ndcg@10", 0.0) for line in lines)
    }


def test_a_run_that_diverges_begins_again_at_half_the_learning_rate(tmp_path: Path) -> None:
    data, hyperparameters = markov(users=50, length=12), replace(SHORT, epochs=4)
    diverged, lines = train(tmp_path / "diverges", data, replace(hyperparameters, learning_rate=200.0))
    assert [line["learning_rate"] for line in lines if "diverged" in line] == [100.0]
    calm, _ = train(tmp_path / "calm", data, replace(hyperparameters, learning_rate=100.0))
    assert equal(diverged, calm)


def test_a_run_that_keeps_diverging_is_given_up(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"give a smaller --learning-rate"):
        train(tmp_path / "run", markov(users=50, length=12), replace(SHORT, learning_rate=1e6))


def test_sampled_negatives_teach_what_the_full_softmax_teaches(tmp_path: Path) -> None:
    data = markov(users=200, length=20)
    hyperparameters = replace(SHORT, epochs=20, evaluate_every=10)
    full, _ = train(tmp_path / "full", data, hyperparameters)
    sampled, lines = train(tmp_path / "sampled", data, replace(hyperparameters, full_softmax=ITEMS - 1, negatives=31))
    same, _ = train(tmp_path / "same", data, replace(hyperparameters, full_softmax=ITEMS))
    assert full is not None and sampled is not None
    assert equal(full, same)
    assert not equal(full, sampled)
    assert lines[-1]["loss"] < 0.8 * lines[0]["loss"]
    assert sampled.metrics["ndcg@10"] > 0.95 * full.metrics["ndcg@10"]


def test_a_run_that_was_cut_off_ends_where_the_whole_one_does(tmp_path: Path) -> None:
    """Bit by bit, cut off at a validation or between two, once or twice."""
    data = markov(users=60, length=14)
    whole, lines = train(tmp_path / "whole", data)
    for cuts in ([2], [3], [2, 5]):
        folder = tmp_path / f"cut-{cuts}"
        for cut in cuts:
            assert train(folder, data, stop_after=cut)[0] is None
        rest, after = train(folder, data)
        assert after[0]["epoch"] == cuts[-1] // 2 * 2 + 1
        assert [line["loss"] for line in after] == [line["loss"] for line in lines[-len(after) :]]
        assert equal(rest, whole)
        assert rest is not None and whole is not None
        assert rest.metrics == whole.metrics
        assert rest.best_epoch == whole.best_epoch


def test_a_finished_run_is_not_trained_again(tmp_path: Path) -> None:
    data = markov(users=60, length=14)
    first, _ = train(tmp_path / "run", data)
    again, lines = train(tmp_path / "run", data)
    assert not lines
    assert equal(again, first)


def test_the_seed_decides_the_weights(tmp_path: Path) -> None:
    data = markov(users=60, length=14)
    hyperparameters = replace(SHORT, epochs=2)
    one, same = (train(tmp_path / name, data, hyperparameters)[0] for name in ("one", "same"))
    other, _ = train(tmp_path / "other", data, replace(hyperparameters, seed=4))
    assert equal(one, same)
    assert not equal(one, other)


@pytest.mark.parametrize("change", ["recipe", "config", "data"])
def test_another_runs_folder_is_refused(tmp_path: Path, change: str) -> None:
    data = markov(users=60, length=14)
    train(tmp_path, data, stop_after=2)
    hyperparameters = replace(SHORT, dropout=0.5) if change == "recipe" else SHORT
    config = replace(CONFIG, conv_width=4) if change == "config" else CONFIG
    if change == "data":
        data = markov(users=61, length=14)
    with pytest.raises(DataError, match="another folder"):
        train(tmp_path, data, hyperparameters, config)


def test_a_run_stops_when_validation_no_longer_improves(tmp_path: Path) -> None:
    """Random histories leave nothing to learn, and a rate this high unlearns what there is."""
    rng = np.random.default_rng(1)
    rows = rng.integers(1, ITEMS + 1, 400).astype(np.int32)
    data = replace(markov(users=40, length=10), rows=rows)
    hyperparameters = replace(SHORT, epochs=200, evaluate_every=1, patience=3, learning_rate=0.05)
    trained, lines = train(tmp_path / "run", data, hyperparameters)
    assert trained is not None
    assert len(lines) < 200
    assert trained.best_epoch == len(lines) - 3
    scores = [line["validation_ndcg@10"] for line in lines]
    assert trained.best_epoch == 1 + int(np.argmax(scores))
    assert trained.metrics["validation_ndcg@10"] == max(scores)
    validation = leave_one_out(trained.network, data.without_last(1)).metrics()
    assert validation["ndcg@10"] == pytest.approx(max(scores)), "the weights are those of the best epoch"


@torch.no_grad()
def test_what_is_published_loads_as_the_same_network(tmp_path: Path) -> None:
    data = markov(users=10, length=8)
    torch.manual_seed(1)
    network = RecBLR(CONFIG).eval()
    network.initial_state.normal_()
    bundle = publish(tmp_path / "v1", network, data, {"ndcg@10": 0.25}, {"source": "test"})
    loaded, read = load_network(tmp_path / "v1", CPU)
    items = torch.from_numpy(data.rows[:8].astype(np.int64))[None]
    for a, b in zip(network(items), loaded(items), strict=True):
        assert torch.equal(a, b)
    assert not loaded.training
    assert read.version == bundle.version
    assert read.metrics == {"ndcg@10": 0.25}
    assert read.training_data == data.summary() | {"source": "test"}
    assert [item.item_id for item in read.items] == list(data.item_ids)
    assert [item.popularity for item in read.items] == data.popularity()[1:].tolist()
    with pytest.raises(BundleError, match="exists already"):
        publish(tmp_path / "v1", network, data, {}, {})


def test_a_run_that_diverges_says_so_and_leaves_no_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="smaller --learning-rate"):
        train(tmp_path / "run", markov(40, 12), replace(SHORT, learning_rate=1e30))
    assert not list((tmp_path / "run").glob("*.safetensors"))
