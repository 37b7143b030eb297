"""Command line of the catalogue: `recblr-items`."""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from ingest.catalogue.item_exporter import export_items
from ingest.catalogue.item_loader import ItemLoader, ItemTable
from ingest.catalogue.item_rows import TableOptions
from ingest.command_options import add_service_options
from ingest.errors import DataError
from ingest.loading.batch_client import BatchClient
from ingest.loading.progress_file import ProgressFile
from ingest.read_options import ReadOptions

_KEY = "RECBLR_API_KEY"
_EPILOG = f"The API key, with the scopes catalogue and read, is read from the environment variable {_KEY}."


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    parser = argparse.ArgumentParser(prog="recblr-items", description="Load and export the catalogue of items.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_load(commands)
    export = commands.add_parser("export", help="write the catalogue into a file", epilog=_EPILOG)
    export.add_argument("file", type=Path, help="file to write, .jsonl or .parquet")
    export.add_argument("--without-vectors", action="store_true", help="leave out the items' vectors")
    export.set_defaults(run=_export)
    for command in commands.choices.values():
        add_service_options(command)
    options = parser.parse_args(arguments)
    headers = {"authorization": f"Bearer {key}"} if (key := os.environ.get(_KEY)) else {}
    try:
        with httpx.Client(base_url=options.url, headers=headers) as client:
            code: int = options.run(options, BatchClient(client, options.give_up))
            return code
    except DataError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2


def _add_load(commands: Any) -> None:  # noqa: ANN401 - argparse has no name for it
    load = commands.add_parser(
        "load",
        help="load a table of items into a running service",
        description="Put all items of a table (CSV and its relatives, Parquet, JSON). Run the command again to "
        "resume an interrupted load. Items that are stored like this already are not changed.",
        epilog=f"{_EPILOG} The last line of the output is the result as JSON. Exit codes: 0 all items are in the "
        "catalogue, 1 the service refused some, 2 an error.",
    )
    load.add_argument("file", type=Path, help="the table")
    load.add_argument(
        "--progress", type=Path, metavar="FILE", help="where to remember the progress (FILE.items.json)"
    )
    load.add_argument("--prune", action="store_true", help="delete the items that the table does not have")
    load.add_argument(
        "--max-prune", type=float, default=0.5, metavar="SHARE", help="largest share of the catalogue to delete (0.5)"
    )
    columns = load.add_argument_group("columns", "All columns become attributes, except those of fields:")
    for field in ("item", "title", "categories", "available"):
        columns.add_argument(f"--{field}-column", metavar="NAME", help=f"column of the field {field}")
    columns.add_argument("--vector-column", metavar="NAME", help="column of vectors (Parquet and JSON)")
    columns.add_argument(
        "--attribute", metavar="COLUMN=NAME", action="append", default=[], help="name of a column's attribute"
    )
    for name, text in (("time", "of times"), ("set", "whose text is a set"), ("leave-out", "that is not loaded")):
        option = f"--{name}-column" if name != "leave-out" else "--leave-out"
        columns.add_argument(option, metavar="NAME", action="append", default=[], help=f"column {text}; repeat it")
    columns.add_argument("--separator", default="|", metavar="TEXT", help="between two strings of a set (|)")
    load.add_argument("--columns", metavar="NAMES", help="names of all columns of a table without a header")
    load.add_argument("--delimiter", metavar="TEXT", help=r"between two fields, for example ';' or '\t'")
    load.add_argument("--encoding", metavar="NAME", help="encoding of the text, for example latin-1")
    load.set_defaults(run=_load)


def _table_options(options: argparse.Namespace) -> TableOptions:
    pairs = [text.partition("=") for text in options.attribute]
    if wrong := [column for column, equals, name in pairs if not equals or not name]:
        raise DataError(f"--attribute {wrong[0]}: write COLUMN=NAME")
    reading = ReadOptions(
        item_column=options.item_column,
        columns=None if options.columns is None else tuple(name.strip() for name in options.columns.split(",")),
        delimiter=None if options.delimiter is None else options.delimiter.replace("\\t", "\t"),
        encoding=options.encoding,
    )
    return TableOptions(
        reading,
        {field: getattr(options, f"{field}_column") for field in ("item", "title", "categories", "available")},
        {column: name for column, _, name in pairs},
        frozenset(options.leave_out),
        frozenset(options.time_column),
        frozenset(options.set_column),
        options.vector_column,
        options.separator,
    )


def _load(options: argparse.Namespace, client: BatchClient) -> int:
    path: Path = options.file
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task("loading", total=None)
        loader = ItemLoader(client, lambda done: progress.update(task, completed=done))
        table_options = _table_options(options)
        declared = loader.declared()
        table = ItemTable(path, table_options, declared)
        attributes = ", ".join(f"{name} {kind}" for name, kind in table.types.items()) or "none"
        sys.stderr.write(f"{path}: {table.count:,} items; attributes: {attributes}\n")
        progress.update(task, total=table.count)
        identity = {"source": _identity(path), "url": client.url}
        result = loader.load(
            table, declared, ProgressFile(options.progress or path.with_name(path.name + ".items.json"), identity)
        )
    if result.refused:
        sys.stderr.write(f"{result.refused:,} items were refused; the first: {result.first_refusal}\n")
    elif options.prune:
        result.pruned = loader.prune(table, options.max_prune)
    print(json.dumps(result.to_dict()))
    return 1 if result.refused else 0


def _export(options: argparse.Namespace, client: BatchClient) -> int:
    count = export_items(client, options.file, with_vectors=not options.without_vectors)
    print(json.dumps({"exported": count}))
    return 0


def _identity(path: Path) -> str:
    """Return name and hash of a file."""
    with path.open("rb") as file:
        return f"{path.name} {hashlib.file_digest(file, 'sha256').hexdigest()[:16]}"


if __name__ == "__main__":
    sys.exit(main())
