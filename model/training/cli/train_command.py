"""Command `train`: train on files of events."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from ingest.command_options import add_read_options, read_options
from model.training.cli import shared_options as shared
from model.training.cli.retrain_command import EXIT_DECLINED

if TYPE_CHECKING:
    from model.content.item_content import ItemContent

_EPILOG = """Each user's last event is the test, and the one before it validates. The bundle's network was trained on
neither, so its test metrics are honest. For a model to serve use --refit: after the measurement a new network is
trained on all events with the same hyperparameters, and the bundle holds that network with the measured metrics. A
finished run is not trained again. With --bundles, the model is published unless the live one predicts the users' last
events better. Exit codes: 0 done; 3 not published, the result has the reason; 2 an error."""


def add(subparsers: shared.Subparsers) -> None:
    """Add the subcommand."""
    help_text = "train on files of events, write a bundle and a report"
    parser = shared.add_command(subparsers, "train", help_text, run)
    parser.epilog = _EPILOG
    parser.add_argument(
        "data",
        type=Path,
        nargs="+",
        help="table (CSV and its relatives, Parquet, JSON), lines of `user item item ...`, a folder of such files, "
        "or the folder of an export; several are ordered by time as one",
    )
    parser.add_argument("--out", type=Path, required=True, help="folder of the run; an interrupted run is resumed")
    parser.add_argument("--bundles", type=Path, help="model registry (RECBLR_BUNDLE) to publish the bundle to")
    parser.add_argument(
        "--force",
        action="store_true",
        help="publish also if the live model in --bundles predicts better",
    )
    shared.add_item_options(parser)
    parser.add_argument("--refit", action="store_true", help="publish a model that was trained on all events")
    add_read_options(parser)
    shared.add_device_option(parser)
    shared.add_model_options(parser)


def run(options: argparse.Namespace) -> int:
    """Run the job and print its result; return the exit code."""
    from model.training.pipelines.train import TrainJob, train

    outcome = train(
        TrainJob(
            data=options.data,
            reading=read_options(options),
            out=options.out,
            registry=options.bundles,
            force=options.force,
            refit=options.refit,
            model=shared.model_settings_from(options),
            device=shared.device_from(options),
            contents=None if options.items is None else _contents(options),
        )
    )
    if outcome is None:  # the first of several processes prints the result
        return 0
    if outcome.was_finished:
        sys.stderr.write(f"the run in {options.out} was finished before; for a new run give --out another folder\n")
    print(json.dumps(outcome.result))
    if outcome.result.get("published", True):
        return 0
    sys.stderr.write(f"{outcome.result['reason']}\n")
    return EXIT_DECLINED


def _contents(options: argparse.Namespace) -> Mapping[str, ItemContent]:
    from model.training.content.item_table_contents import read_item_contents

    return read_item_contents(options.items, shared.item_table_options(options))
