"""Command `export`: the service's event log as Parquet files."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path

from model.training.cli import shared_options as shared


def add(subparsers: shared.Subparsers) -> None:
    """Add the subcommand."""
    help_text = "bring a folder of Parquet files up to date with the service's event log"
    parser = shared.add_command(subparsers, "export", help_text, run)
    parser.add_argument("state_url", help="the service's RECBLR_STATE_URL")
    parser.add_argument("out", type=Path, help="folder of the export; a second run adds only new events")


def run(options: argparse.Namespace) -> None:
    """Export, and print the figures as one JSON object."""
    from model.training.data.export import export_log

    print(json.dumps({"folder": str(options.out)} | asdict(export_log(options.state_url, options.out))))
