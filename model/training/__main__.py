"""The training job's command line: `python -m model.training`, or `recblr-train`."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING

from model.artifact import BundleError
from model.config import ConfigError, ModelConfig
from model.training.errors import DataError
from model.training.recipe import Recipe

if TYPE_CHECKING:
    import torch

_RECIPE_HELP = {
    "window": "targets in a training window",
    "batch": "windows in a step",
    "epochs": "passes over the data",
    "learning_rate": "peak learning rate of Adam",
    "warmup_steps": "steps of linear warm-up before the cosine decay",
    "dropout": "dropout probability",
    "evaluate_every": "epochs between validations",
    "patience": "validations without improvement before the run stops",
    "seed": "seed of weights, windows and dropout",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one subcommand; returns the exit code. What a user can mend is one sentence on stderr and code 2."""
    options = _parser().parse_args(arguments)
    command: Callable[[argparse.Namespace], None] = options.command
    try:
        command(options)
    except ModuleNotFoundError as error:
        return _fail(f"{error.name} is not installed; install the 'train' extra: pip install 'recblr-service[train]'")
    except KeyboardInterrupt:
        return _fail("stopped; the same command goes on from the last validation")
    except (DataError, BundleError, ConfigError) as error:
        return _fail(str(error))
    return 0


def _fail(message: str) -> int:
    sys.stderr.write(f"error: {message}\n")
    return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="recblr-train", description="Train, evaluate and publish RecBLR models.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    kinds = argparse.ArgumentDefaultsHelpFormatter

    train = commands.add_parser("train", help="train on a file of events, write a bundle", formatter_class=kinds)
    train.add_argument("data", type=Path, help=".inter, .csv, .parquet, or lines of `user item item …`")
    train.add_argument("--out", type=Path, required=True, help="folder of the run; a cut-off run in it goes on")
    train.add_argument("--dim", type=int, default=64, help="model width D")
    train.add_argument("--layers", type=int, default=2, help="number of layers L")
    _add_device(train)
    for field in fields(Recipe):
        flag = "--" + field.name.replace("_", "-")
        train.add_argument(flag, type=type(field.default), default=field.default, help=_RECIPE_HELP[field.name])
    train.set_defaults(command=_train)

    evaluate = commands.add_parser("evaluate", help="leave-one-out metrics of a bundle", formatter_class=kinds)
    evaluate.add_argument("bundle", type=Path, help="folder of the bundle")
    evaluate.add_argument("data", type=Path, help="events, as for train; items the bundle lacks are left out")
    _add_device(evaluate)
    evaluate.set_defaults(command=_evaluate)

    titles = commands.add_parser("titles", help="attach MovieLens titles and genres to a bundle")
    titles.add_argument("bundle", type=Path, help="folder of the bundle")
    titles.add_argument("movies", type=Path, help="MovieLens' movies.dat (id::title::genre|genre)")
    titles.add_argument("--out", type=Path, required=True, help="folder of the titled bundle; must not exist yet")
    titles.set_defaults(command=_titles)
    return parser


def _add_device(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--device", default="auto", choices=["auto", "cpu", "cuda"], help="auto takes a GPU if any")


def _device(name: str) -> torch.device:
    import torch

    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)


def _train(options: argparse.Namespace) -> None:
    from model.training.data import read_interactions
    from model.training.loop import Trainer
    from model.training.progress import RunLog
    from model.training.publish import publish

    data = read_interactions(options.data)
    recipe = Recipe(**{field.name: getattr(options, field.name) for field in fields(Recipe)})
    config = ModelConfig(items=len(data.item_ids), dim=options.dim, layers=options.layers)
    options.out.mkdir(parents=True, exist_ok=True)
    trainer = Trainer(data, config, recipe, options.out, _device(options.device))
    with RunLog(options.out, recipe.epochs) as log:
        trained = trainer.run(log)
    extra = {"source": options.data.name, "recipe": recipe.to_dict(), "best_epoch": trained.best_epoch}
    bundle = publish(options.out / "bundle", trained.network, data, trained.metrics, extra)
    print(json.dumps({"bundle": str(options.out / "bundle"), "version": bundle.version} | trained.metrics))


def _evaluate(options: argparse.Namespace) -> None:
    from model.training.data import read_interactions
    from model.training.evaluation import leave_one_out
    from model.training.publish import load_network

    network, bundle = load_network(options.bundle, _device(options.device))
    data = read_interactions(options.data, [item.item_id for item in bundle.items])
    ranks = leave_one_out(network, data)
    print(json.dumps({"version": bundle.version, "users": len(ranks.kept)} | ranks.metrics()))


def _titles(options: argparse.Namespace) -> None:
    from model.training.titles import attach_titles

    bundle, titled = attach_titles(options.bundle, options.movies, options.out)
    print(json.dumps({"bundle": str(options.out), "version": bundle.version, "titled": titled}))


if __name__ == "__main__":
    sys.exit(main())
