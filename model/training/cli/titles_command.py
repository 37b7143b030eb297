"""Command `titles`: add titles and categories to a bundle."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from ingest.read_options import ReadOptions
from model.training.cli import shared_options as shared


def add(subparsers: shared.Subparsers) -> None:
    """Add the subcommand."""
    help_text = "add titles and categories of items to a bundle; later trainings keep them"
    parser = shared.add_command(subparsers, "titles", help_text, run)
    parser.add_argument("bundle", type=Path, help="folder of the bundle")
    parser.add_argument(
        "items", type=Path, help="table of items: CSV and its relatives, Parquet, JSON, or movies.dat"
    )
    parser.add_argument("--out", type=Path, required=True, help="folder of the new bundle; it must not exist")
    parser.add_argument("--item-column", metavar="NAME", help="column of item ids")
    parser.add_argument("--title-column", metavar="NAME", help="column of titles")
    parser.add_argument("--categories-column", metavar="NAME", help="column of categories, between | or ;")
    parser.add_argument("--columns", metavar="NAMES", help="names of all columns of a table without a header")
    parser.add_argument("--delimiter", metavar="TEXT", help="between two fields")
    parser.add_argument("--encoding", metavar="NAME", help="encoding of the text, for example latin-1")


def run(options: argparse.Namespace) -> None:
    """Write the new bundle and print a summary as one JSON object."""
    from ingest.reading.item_table import ItemTableOptions
    from model.training.publishing.item_titles import add_titles

    reading = ReadOptions(
        item_column=options.item_column,
        columns=None if options.columns is None else tuple(name.strip() for name in options.columns.split(",")),
        delimiter=None if options.delimiter is None else options.delimiter.replace("\\t", "\t"),
        encoding=options.encoding,
    )
    table = ItemTableOptions(reading, options.title_column, options.categories_column)
    bundle, titled = add_titles(options.bundle, options.items, table, options.out)
    print(json.dumps({"bundle": str(options.out), "version": bundle.version, "titled": titled}))
