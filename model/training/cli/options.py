"""Options that several subcommands share."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable
from dataclasses import Field, fields
from typing import TYPE_CHECKING, Any

from model.training.trainer.hyperparameters import CHOSEN, Hyperparameters, hyperparameters_for, teachers_for

if TYPE_CHECKING:
    import torch

    from model.training.data.interactions import Interactions

# A command returns its exit code, or None for success.
Command = Callable[[argparse.Namespace], int | None]
Commands = Any  # argparse keeps the type of its subparsers to itself


class _Defaults(argparse.HelpFormatter):
    """Shows an option's default where it has one."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        if action.default in (None, argparse.SUPPRESS) or not action.option_strings:
            return action.help
        return f"{action.help} (default: %(default)s)"


def add_command(commands: Commands, name: str, help_text: str, run: Command) -> argparse.ArgumentParser:
    """A parser for the subcommand, which shows defaults in its help."""
    parser: argparse.ArgumentParser = commands.add_parser(
        name, help=help_text, description=help_text, formatter_class=_Defaults
    )
    parser.set_defaults(command=run)
    return parser


def add_device(parser: argparse.ArgumentParser) -> None:
    """`--device`."""
    parser.add_argument("--device", default="auto", choices=["auto", "cpu", "cuda"], help="auto takes a GPU if any")


def device_of(options: argparse.Namespace) -> torch.device:
    """The device that the options name."""
    import torch

    name = options.device
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)


def add_model(parser: argparse.ArgumentParser) -> None:
    """The size of the model, and a flag for each number of the recipe."""
    parser.add_argument("--dim", type=int, default=64, help="model width D")
    parser.add_argument("--layers", type=int, default=2, help="number of layers L")
    meanings = dict(re.findall(r"^ {4}(\w+) +(.+)$", Hyperparameters.__doc__ or "", re.MULTILINE))
    for field in fields(Hyperparameters):
        parser.add_argument(
            "--" + field.name.replace("_", "-"),
            type=type(field.default),
            default=argparse.SUPPRESS,
            help=f"{meanings.get(field.name, field.name)} (default: {_default(field)})",
        )


def _default(field: Field[Any]) -> str:
    if field.name == "teachers":
        return "12 on a GPU for up to 5 million events, else 0"
    return f"by the data, MovieLens-1M: {field.default}" if field.name in CHOSEN else str(field.default)


def recipe_of(options: argparse.Namespace, data: Interactions, device: torch.device) -> Hyperparameters:
    """What the options give and the data's size and the device choose."""
    given = given_of(options)
    items, events = len(data.item_ids), len(data.rows)
    given.setdefault("teachers", teachers_for(items, events, device.type == "cuda"))
    return hyperparameters_for(len(data.user_ids), items, events, given)


def given_of(options: argparse.Namespace) -> dict[str, Any]:
    """The numbers of the recipe that the options give; raises `DataError` for those that no run can have."""
    given = {
        field.name: getattr(options, field.name) for field in fields(Hyperparameters) if hasattr(options, field.name)
    }
    Hyperparameters(**given)
    return given
