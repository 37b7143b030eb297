"""Measure recommendations of items that models were not trained on.

Each seed trains one model by ids, without the new items. `content` is this model with vectors of the new items from
their content; `id_only` is the same model without them, so the two are paired.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ingest.catalogue.item_rows import TableOptions
from ingest.errors import DataError
from ingest.read_options import ReadOptions
from model.content.item_content import ItemContent
from model.network import RecBLR
from model.training.content.content_baselines import ContentKnnScorer, PopularityScorer
from model.training.content.encoder_fit import FittedEncoder, fit_encoder, with_new_items
from model.training.content.item_table_contents import read_item_contents
from model.training.content.new_item_split import NewItemSplit, split_last_events, split_new_items_by_time
from model.training.data.input_files import InputReport, read_histories
from model.training.data.interactions import Interactions
from model.training.data.time_split import timeline_of
from model.training.evaluation.new_item_accuracy import CONTENT, ID_ONLY, KINDS, new_item_accuracy
from model.training.evaluation.prefix_ranking import NetworkScorer, Scorer, rank_prefixes
from model.training.pipelines.candidate import ModelSettings, choose_model, train_candidate
from model.training.reports.new_item_report import write_new_item_report
from model.training.trainer.training_run import TrainingRun

_METRICS = ("ndcg@10", "hr@10")


@dataclass(frozen=True, slots=True)
class NewItemJob:
    """Inputs of `evaluate_new_items`.

    Attributes:
        data: files of events.
        reading: how to read them.
        items: table of items.
        table: how to read it.
        fraction: fraction of the items to hold out.
        seeds: number of models to train for each protocol.
        out: folder of the runs and of the report; interrupted runs are resumed.
        model: size and hyperparameters.
        device: device to train on.
    """

    data: Sequence[Path]
    reading: ReadOptions
    items: Path
    table: TableOptions
    fraction: float
    seeds: int
    out: Path
    model: ModelSettings
    device: torch.device


def evaluate_new_items(job: NewItemJob) -> dict[str, Any]:
    """Train and measure; return the figures, ready for JSON.

    Raises:
        DataError: the data, the items or the settings cannot be used.
    """
    contents = read_item_contents(job.items, job.table)
    evaluations = []
    for split in _splits(job):
        described = sum(item_id in contents for item_id in split.item_ids)
        if not described:
            raise DataError(f"{job.items} has none of the items of the events; is its column of ids the right one?")
        sys.stderr.write(f"{split.protocol}: {described:,} of {len(split.item_ids):,} items have content\n")
        seeds = [_evaluate(job, split, contents, seed) for seed in range(1, job.seeds + 1)]
        evaluations.append({"protocol": split.protocol, "mean": _mean(seeds), "seeds": seeds})
    report = write_new_item_report(job.out, evaluations)
    return {"report": str(report), "evaluations": evaluations}


def _splits(job: NewItemJob) -> Iterator[NewItemSplit]:
    """Yield the split by last events.

    That by time follows if the events have times.
    """
    report = InputReport()
    histories = read_histories(job.data, job.reading, None, report, keep_times=True)
    sys.stderr.writelines(f"{line}\n" for line in report.lines())
    data = Interactions(histories.rows, histories.offsets, histories.item_ids, histories.user_ids)
    yield split_last_events(data, job.fraction)
    if histories.times is not None:
        yield split_new_items_by_time(timeline_of(histories._replace(rows=histories.rows.copy())), job.fraction)


def _evaluate(job: NewItemJob, split: NewItemSplit, contents: Mapping[str, ItemContent], seed: int) -> dict[str, Any]:
    folder = job.out / split.protocol.replace(" ", "-") / f"seed-{seed}"
    folder.mkdir(parents=True, exist_ok=True)
    settings = replace(job.model, given={**job.model.given, "seed": seed})
    config, hyperparameters = choose_model(settings, split.train, job.device)
    run = TrainingRun(split.train, config, hyperparameters, folder, job.device)
    network = train_candidate(run).network
    fitted = fit_encoder(network, split.train, contents)
    all_contents = [contents.get(item_id, ItemContent()) for item_id in split.item_ids]
    models = _scorers(split, network, fitted, all_contents)
    items = len(split.item_ids)
    ranks = {name: rank_prefixes(scorer, split.task, items) for name, scorer in models.items()}
    return {"seed": seed} | new_item_accuracy(ranks, split.trained, items)


def _scorers(
    split: NewItemSplit, network: RecBLR, fitted: FittedEncoder, contents: Sequence[ItemContent]
) -> dict[str, Scorer]:
    """Return the models to compare by name."""
    extended, known = with_new_items(network, fitted, contents)
    trained_only = known & (np.arange(len(known)) <= split.trained)
    popularity = np.zeros(len(known), np.int64)
    popularity[: split.trained + 1] = split.train.without_last(2).popularity()
    space = fitted.encoder.space
    features = [space.features(content) for content in contents]
    return {
        CONTENT: NetworkScorer(extended, known),
        ID_ONLY: NetworkScorer(extended, trained_only),
        "content_knn": ContentKnnScorer(features, space.columns),
        "popularity": PopularityScorer(popularity),
    }


def _mean(seeds: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the means over the seeds, without intervals."""
    models: dict[str, Any] = {}
    for name in seeds[0]["models"]:
        own = [seed["models"][name] for seed in seeds]
        models[name] = {
            kind: {metric: float(np.mean([each[kind][metric]["mean"] for each in own])) for metric in _METRICS}
            for kind in KINDS
        }
        models[name] |= {
            figure: float(np.mean([each[figure] for each in own])) for figure in ("coverage@10", "new_items_shown")
        }
    relative = [seed["other_relative_to_id_only"]["mean"] for seed in seeds]
    known = [value for value in relative if value is not None]
    return {"models": models, "other_relative_to_id_only": float(np.mean(known)) if known else None}
