"""Command `evaluate`: metrics of a bundle, or of recommendations of new items."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from ingest.command_options import add_read_options, read_options
from ingest.errors import DataError
from model.training.cli import shared_options as shared

_EPILOG = """--hold-out-items trains models without these items, which a hash of the id chooses. They predict each
user's last event, and, if the events have times, the newest tenth of the events. Events of the held-out items and all
others are reported, beside a model that knows ids only, nearest neighbours by content, and popularity."""


def add(subparsers: shared.Subparsers) -> None:
    """Add the subcommand."""
    help_text = "leave-one-out metrics of a bundle; with --hold-out-items, how well new items are recommended"
    parser = shared.add_command(subparsers, "evaluate", help_text, run)
    parser.epilog = _EPILOG
    parser.add_argument(
        "inputs",
        type=Path,
        nargs="+",
        help="the bundle's folder, then events as for train, of which items that the bundle lacks are left out; "
        "events only with --hold-out-items",
    )
    new_items = parser.add_argument_group("new items", "Train without some items, and measure events on them:")
    shared.add_item_options(new_items)
    new_items.add_argument("--hold-out-items", type=_fraction, metavar="SHARE", help="share of the items to hold out")
    new_items.add_argument("--seeds", type=int, default=1, help="number of models to train for each protocol")
    new_items.add_argument("--out", type=Path, help="folder of the runs and the report; runs are resumed")
    add_read_options(parser)
    shared.add_device_option(parser)
    shared.add_model_options(parser)


def run(options: argparse.Namespace) -> None:
    """Print the metrics as one JSON object."""
    if options.hold_out_items is None:
        _evaluate_bundle(options)
    else:
        _evaluate_new_items(options)


def _evaluate_new_items(options: argparse.Namespace) -> None:
    from model.training.pipelines.new_item_evaluation import NewItemJob, evaluate_new_items

    if options.items is None or options.out is None or options.seeds < 1:
        raise DataError("--hold-out-items needs --items and --out, and at least one of --seeds")
    job = NewItemJob(
        data=options.inputs,
        reading=read_options(options),
        items=options.items,
        table=shared.item_table_options(options),
        fraction=options.hold_out_items,
        seeds=options.seeds,
        out=options.out,
        model=shared.model_settings_from(options),
        device=shared.device_from(options),
    )
    print(json.dumps(evaluate_new_items(job)))


def _evaluate_bundle(options: argparse.Namespace) -> None:
    from model.training.data.input_files import InputReport
    from model.training.data.interactions import read_interactions
    from model.training.evaluation.accuracy_by_group import accuracy_by_group
    from model.training.evaluation.accuracy_details import accuracy_details
    from model.training.evaluation.bundle_loader import load_network
    from model.training.evaluation.leave_one_out import leave_one_out
    from model.training.evaluation.plain_baselines import baseline_metrics

    folder, *paths = options.inputs
    if not paths:
        raise DataError("name the bundle and the events; or give --hold-out-items, which needs no bundle")
    network, bundle = load_network(folder, shared.device_from(options))
    report = InputReport()
    item_ids = [item.item_id for item in bundle.items]
    data = read_interactions(paths, read_options(options), item_ids, report)
    sys.stderr.writelines(f"{line}\n" for line in report.lines())
    ranks = leave_one_out(network, data)
    facts = {
        "version": bundle.version,
        "users": len(ranks.kept),
        # A refit was trained on the test events too, so its figures are not a test.
        "refit": bundle.training_data.get("refit", False),
    }
    by_length, by_popularity = accuracy_by_group(network, data)
    groups = {
        "by_history_length": [group._asdict() for group in by_length],
        "by_popularity": [group._asdict() for group in by_popularity],
    }
    details = accuracy_details(ranks, data)
    print(json.dumps(facts | ranks.metrics() | details | groups | {"baselines": baseline_metrics(data)}))


def _fraction(text: str) -> float:
    value = float(text)
    if not 0.0 < value < 1.0:
        raise argparse.ArgumentTypeError("must be between 0 and 1")
    return value
