"""Command `evaluate`: leave-one-out metrics of a bundle."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from ingest.command_options import add_read_options, read_options
from model.training.cli import shared_options as shared


def add(subparsers: shared.Subparsers) -> None:
    """Add the subcommand."""
    parser = shared.add_command(subparsers, "evaluate", "leave-one-out metrics of a bundle", run)
    parser.add_argument("bundle", type=Path, help="folder of the bundle")
    parser.add_argument(
        "data", type=Path, nargs="+", help="events, as for train; items that the bundle lacks are left out"
    )
    add_read_options(parser)
    shared.add_device_option(parser)


def run(options: argparse.Namespace) -> None:
    """Print the metrics as one JSON object."""
    from model.training.data.event_inputs import InputReport
    from model.training.data.interactions import read_interactions
    from model.training.evaluation.accuracy_by_group import accuracy_by_group
    from model.training.evaluation.accuracy_details import accuracy_details
    from model.training.evaluation.bundle_loader import load_network
    from model.training.evaluation.leave_one_out import leave_one_out
    from model.training.evaluation.plain_baselines import baseline_metrics

    network, bundle = load_network(options.bundle, shared.device_from(options))
    report = InputReport()
    item_ids = [item.item_id for item in bundle.items]
    data = read_interactions(options.data, read_options(options), item_ids, report)
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
