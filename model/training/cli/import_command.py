"""Command `import`: a checkpoint of the authors' published code as a bundle."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from model.training.cli import shared_options as shared


def add(subparsers: shared.Subparsers) -> None:
    """Add the subcommand."""
    help_text = "convert a checkpoint of the authors' published code (RecBole's .pth) to a bundle"
    parser = shared.add_command(subparsers, "import", help_text, run)
    parser.add_argument("checkpoint", type=Path, help="the .pth; nothing in it is executed")
    ids = parser.add_mutually_exclusive_group(required=True)
    ids.add_argument("--items", type=Path, help="item ids, one per line, in order of the embedding's rows from row 1")
    ids.add_argument("--inter", type=Path, help="the .inter of its training; ids in RecBole's order of appearance")
    parser.add_argument(
        "--min-user-events", type=int, default=0, help="with --inter: the lower end of user_inter_num_interval"
    )
    parser.add_argument(
        "--min-item-events", type=int, default=0, help="with --inter: the lower end of item_inter_num_interval"
    )
    parser.add_argument(
        "--max-length", type=int, required=True, help="MAX_ITEM_LIST_LENGTH of its training (published: 200)"
    )
    parser.add_argument("--out", type=Path, required=True, help="folder of the bundle; it must not exist")


def run(options: argparse.Namespace) -> None:
    """Write the bundle and print a summary as one JSON object."""
    from model.training.publishing.checkpoint_import import import_checkpoint, items_from_inter, items_from_text

    if options.items:
        items = items_from_text(options.items)
    else:
        items = items_from_inter(options.inter, options.min_user_events, options.min_item_events)
    bundle = import_checkpoint(options.checkpoint, items, options.max_length, options.out)
    print(json.dumps({"bundle": str(options.out), "version": bundle.version} | bundle.config.to_dict()))
