"""Options that several subcommands share."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import Field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ingest.read_options import ReadOptions
from model.training.trainer.hyperparameter_choice import CHOSEN_BY_DATA
from model.training.trainer.hyperparameters import Hyperparameters

if TYPE_CHECKING:
    import torch

    from ingest.catalogue.item_rows import TableOptions
    from model.training.pipelines.candidate import ModelSettings

# A command returns its exit code, None for 0.
Command = Callable[[argparse.Namespace], int | None]
Subparsers = Any  # argparse does not export the type


class _HelpFormatter(argparse.HelpFormatter):
    """Show the default of each option that has one."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        if action.default in (None, argparse.SUPPRESS) or not action.option_strings:
            return action.help
        return f"{action.help} (default: %(default)s)"


def add_command(subparsers: Subparsers, name: str, help_text: str, run: Command) -> argparse.ArgumentParser:
    """Add a subcommand that calls `run` with the parsed options."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        name, help=help_text, description=help_text, formatter_class=_HelpFormatter
    )
    parser.set_defaults(command=run)
    return parser


def add_device_option(parser: argparse.ArgumentParser) -> None:
    """Add `--device`."""
    parser.add_argument(
        "--device", default="auto", choices=["auto", "cpu", "cuda"], help="auto uses a GPU if there is one"
    )


def device_from(options: argparse.Namespace) -> torch.device:
    """Return the device that `--device` names."""
    import torch

    name = options.device
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)


def add_item_options(parser: Any) -> None:  # noqa: ANN401 - a parser or a group of one
    """Add the table of items and how to read it."""
    add = parser.add_argument
    add("--items", type=Path, metavar="FILE", help="table of items with their attributes, as for recblr-items load")
    add("--items-encoding", metavar="NAME", help="encoding of its text, for example latin-1")
    add("--items-vector-column", metavar="NAME", help="its column of vectors (Parquet and JSON)")
    add("--items-time-column", metavar="NAME", action="append", default=[], help="its column of times; repeat it")
    add("--items-set-column", metavar="NAME", action="append", default=[], help="its column whose text is a set, a|b")
    add("--items-leave-out", metavar="NAME", action="append", default=[], help="its column that is not used")


def item_table_options(options: argparse.Namespace) -> TableOptions:
    """Return how to read the table of items."""
    from ingest.catalogue.item_rows import TableOptions

    return TableOptions(
        ReadOptions(encoding=options.items_encoding),
        left_out=frozenset(options.items_leave_out),
        times=frozenset(options.items_time_column),
        sets=frozenset(options.items_set_column),
        vector=options.items_vector_column,
    )


def add_model_options(parser: argparse.ArgumentParser) -> None:
    """Add the size of the model and one option per hyperparameter."""
    parser.add_argument("--dim", type=int, default=64, help="model width D")
    parser.add_argument("--layers", type=int, default=2, help="number of layers L")
    for field in fields(Hyperparameters):
        parser.add_argument(
            "--" + field.name.replace("_", "-"),
            type=type(field.default),
            default=argparse.SUPPRESS,
            help=f"{field.metadata['help']} (default: {_describe_default(field)})",
        )


def model_settings_from(options: argparse.Namespace) -> ModelSettings:
    """Return the model's size and the hyperparameters that the options give.

    Raises `DataError` if a hyperparameter is out of range.
    """
    from model.training.pipelines.candidate import ModelSettings

    names = [field.name for field in fields(Hyperparameters)]
    given = {name: getattr(options, name) for name in names if hasattr(options, name)}
    Hyperparameters(**given)
    return ModelSettings(options.dim, options.layers, given)


def _describe_default(field: Field[Any]) -> str:
    if field.name == "teachers":
        return "12 on a GPU for up to 5 million events, else 0"
    if field.name in CHOSEN_BY_DATA:
        return f"by the size of the data; {field.default} for MovieLens-1M"
    return str(field.default)
