"""`titles`: attach MovieLens titles to a bundle."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from model.training.cli import options as shared


def add(commands: shared.Commands) -> None:
    """Declare the subcommand."""
    parser = shared.add_command(commands, "titles", "attach MovieLens titles and genres to a bundle", run)
    parser.add_argument("bundle", type=Path, help="folder of the bundle")
    parser.add_argument("movies", type=Path, help="MovieLens' movies.dat (id::title::genre|genre)")
    parser.add_argument("--out", type=Path, required=True, help="folder of the titled bundle; must not exist yet")


def run(options: argparse.Namespace) -> None:
    """Write the titled bundle."""
    from model.training.publishing.item_titles import attach_titles

    bundle, titled = attach_titles(options.bundle, options.movies, options.out)
    print(json.dumps({"bundle": str(options.out), "version": bundle.version, "titled": titled}))
