"""`train`: a file of events becomes a run's folder with metrics, report and bundle."""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from model.config import ModelConfig
from model.training.cli import options as shared
from model.training.trainer.hyperparameters import Hyperparameters

if TYPE_CHECKING:
    import torch

    from model.training.data.interactions import Interactions
    from model.training.trainer.distributed import Crew

_EPILOG = """Each user's last event is the test and the one before it validates; the bundle has learnt neither, so its
test figures are honest. --refit is for a model to be served: once the figures are known, the same recipe is fitted to
all events, and the bundle holds that model with those figures. A run that is finished is not done again."""


def add(commands: shared.Commands) -> None:
    """Declare the subcommand."""
    parser = shared.add_command(commands, "train", "train on a file of events, write a bundle and a report", run)
    parser.epilog = _EPILOG
    parser.add_argument(
        "data", type=Path, help=".inter, .csv, .parquet, a folder of an export, or lines of `user item item …`"
    )
    parser.add_argument("--out", type=Path, required=True, help="folder of the run; a cut-off run in it goes on")
    parser.add_argument("--bundles", type=Path, help="folder of versions (RECBLR_BUNDLE) to put the bundle into too")
    parser.add_argument("--refit", action="store_true", help="publish a model that has learnt all events")
    shared.add_device(parser)
    shared.add_model(parser)


def run(options: argparse.Namespace) -> None:
    """Train, report, publish to the run's folder."""
    from model.training.data.interactions import read_interactions
    from model.training.publishing.registry import newest_bundle, release
    from model.training.trainer.checkpoint import load_result, save_result
    from model.training.trainer.distributed import join, leave
    from model.training.trainer.trainer import identity

    shared.given_of(options)  # refuses now what it would refuse after reading
    if options.bundles:
        newest_bundle(options.bundles)  # refuses now what it would refuse after hours
    data = read_interactions(options.data)
    device = shared.device_of(options)
    hyperparameters = shared.recipe_of(options, data, device)
    config = ModelConfig(items=len(data.item_ids), dim=options.dim, layers=options.layers)
    options.out.mkdir(parents=True, exist_ok=True)
    asked = identity(data, config, hyperparameters) | {"refit": options.refit}
    crew, device = join(device)
    result = load_result(options.out, asked)
    if result is not None:
        sys.stderr.write(f"the run in {options.out} is finished; for a new one give --out another folder\n")
    else:
        result = _train(options, data, config, hyperparameters, crew, device)
    leave(crew)
    if crew.rank > 0:  # the first process publishes for all
        return
    save_result(options.out, asked, result)
    if options.bundles:
        version = release(options.bundles, options.out / "bundle").version
        result |= {"bundle": str(options.bundles / version)}
    print(json.dumps(result))


def _train(
    options: argparse.Namespace,
    data: Interactions,
    config: ModelConfig,
    hyperparameters: Hyperparameters,
    crew: Crew,
    device: torch.device,
) -> dict[str, Any]:
    """The run's result; the first process has written report and bundle."""
    from model.training.pipelines.distillation import learn_from_teachers
    from model.training.pipelines.refit import refit
    from model.training.publishing.bundle_writer import publish
    from model.training.reports.run_report import write_report
    from model.training.trainer.progress import open_epoch_log
    from model.training.trainer.trainer import Trainer

    out: Path = options.out
    soft_targets = learn_from_teachers(data, config, hyperparameters, out, device, crew)
    trainer = Trainer(data, config, hyperparameters, out, device, crew, soft_targets=soft_targets)
    title = f"training on {device}: {len(data.rows):,} events, at most {hyperparameters.epochs} epochs"
    with open_epoch_log(out, hyperparameters.epochs, title, enabled=crew.rank == 0) as log:
        trained = trainer.run(log)
    network = trained.network
    if options.refit:
        network = refit(data, config, hyperparameters, trained.best_epoch, out / "refit", device, crew)
    if crew.rank > 0:
        return {}
    facts = {"Recipe": hyperparameters.to_dict(), "Model": config.to_dict(), "Data": data.summary()}
    page = write_report(out, trained.network, data, trained.metrics, facts)
    shutil.rmtree(out / "bundle", ignore_errors=True)  # of this very run, cut off before it said that it was finished
    extra = {
        "source": options.data.name,
        "recipe": hyperparameters.to_dict(),
        "best_epoch": trained.best_epoch,
        "refit": options.refit,
    }
    bundle = publish(out / "bundle", network, data, trained.metrics, extra)
    return {"bundle": str(out / "bundle"), "version": bundle.version, "report": str(page)} | trained.metrics
