"""Command `titles`: add MovieLens' titles and genres to a bundle."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from model.training.cli import options as shared


def add(subparsers: shared.Subparsers) -> None:
    """Add the subcommand."""
    parser = shared.add_command(subparsers, "titles", "add MovieLens' titles and genres to a bundle", run)
    parser.add_argument("bundle", type=Path, help="folder of the bundle")
    parser.add_argument("movies", type=Path, help="MovieLens' movies.dat (id::title::genre|genre)")
    parser.add_argument("--out", type=Path, required=True, help="folder of the new bundle; it must not exist")


def run(options: argparse.Namespace) -> None:
    """Write the new bundle and print a summary as one JSON object."""
    from model.training.publishing.item_titles import add_titles

    bundle, titled = add_titles(options.bundle, options.movies, options.out)
    print(json.dumps({"bundle": str(options.out), "version": bundle.version, "titled": titled}))
