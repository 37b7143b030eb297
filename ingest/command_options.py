"""Command-line options of the loaders."""

from __future__ import annotations

import argparse
import re

from ingest.read_options import ReadOptions
from service.core.event_fields import EVENT_TYPE


def add_service_options(parser: argparse.ArgumentParser) -> None:
    """Declare the address of the service, and how long to retry it."""
    parser.add_argument("--url", required=True, help="address of the service, for example http://localhost:8000")
    parser.add_argument(
        "--give-up", type=float, default=300.0, metavar="SECONDS", help="how long to retry an unreachable service"
    )


def add_read_options(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `ReadOptions`."""
    group = parser.add_argument_group("reading", "Settings that override detection:")
    group.add_argument("--user-column", metavar="NAME", help="column of user ids")
    group.add_argument("--item-column", metavar="NAME", help="column of item ids")
    group.add_argument("--time-column", metavar="NAME", help="column of times: Unix seconds, or ISO 8601")
    group.add_argument("--type-column", metavar="NAME", help="column of event types; else all are views")
    group.add_argument(
        "--map-types",
        metavar="TEXT=TYPE,…",
        type=_type_names,
        default=(),
        help="types that texts of that column stand for, for example 'buy=purchase,5=like,1=dislike'",
    )
    group.add_argument("--value-column", metavar="NAME", help="column of the events' values, such as prices")
    group.add_argument(
        "--time-format", metavar="FORMAT", help="of other times, for example '%%d.%%m.%%Y %%H:%%M' or '%%m/%%d/%%Y'"
    )
    group.add_argument(
        "--columns", metavar="NAMES", help="names of all columns of a table without a header, separated by commas"
    )
    group.add_argument("--delimiter", metavar="TEXT", help=r"between two fields, for example '::' or '\t'")
    group.add_argument("--encoding", metavar="NAME", help="encoding of the text, for example latin-1")
    group.add_argument("--histories", action="store_true", help="the lines are `user item item …`, oldest item first")
    group.add_argument(
        "--skip-bad-rows",
        metavar="SHARE",
        type=_share,
        default=0.0,
        help="skip rows that cannot be read, up to this share of all (0 to 1)",
    )
    group.add_argument(
        "--drop-duplicates", action="store_true", help="leave out rows that repeat user, item and time of another"
    )


def read_options(options: argparse.Namespace) -> ReadOptions:
    """Return the options that were given."""
    return ReadOptions(
        user_column=options.user_column,
        item_column=options.item_column,
        time_column=options.time_column,
        type_column=options.type_column,
        value_column=options.value_column,
        type_names=options.map_types,
        time_format=options.time_format,
        columns=None if options.columns is None else tuple(name.strip() for name in options.columns.split(",")),
        delimiter=None if options.delimiter is None else options.delimiter.replace("\\t", "\t"),
        encoding=options.encoding,
        histories=options.histories,
        max_bad_rows=options.skip_bad_rows,
        drop_duplicates=options.drop_duplicates,
    )


def _type_names(text: str) -> tuple[tuple[str, str], ...]:
    pairs = [pair.rpartition("=") for pair in text.split(",")]
    if not all(name.strip() and equals and re.fullmatch(EVENT_TYPE, found.strip()) for name, equals, found in pairs):
        raise argparse.ArgumentTypeError(f"{text!r} must be pairs such as buy=purchase, separated by commas")
    return tuple((name.strip(), found.strip()) for name, _, found in pairs)


def _share(text: str) -> float:
    value = float(text)
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{text} must be a number from 0 to 1")
    return value
