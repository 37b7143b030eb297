"""`train`: a file of events becomes a run's folder with metrics, report and bundle."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from model.config import ModelConfig
from model.training.commands import options as shared


def add(commands: shared.Commands) -> None:
    """Declare the subcommand."""
    parser = shared.add_command(commands, "train", "train on a file of events, write a bundle and a report", run)
    parser.add_argument(
        "data", type=Path, help=".inter, .csv, .parquet, a folder of an export, or lines of `user item item …`"
    )
    parser.add_argument("--out", type=Path, required=True, help="folder of the run; a cut-off run in it goes on")
    shared.add_device(parser)
    shared.add_model(parser)


def run(options: argparse.Namespace) -> None:
    """Train, report, publish to the run's folder."""
    from model.training.data import read_interactions
    from model.training.loop import Trainer
    from model.training.parallel import join, leave
    from model.training.progress import RunLog, opening
    from model.training.publish import publish
    from model.training.recipe import recipe_for
    from model.training.report import write_report

    given = shared.given_of(options)
    data = read_interactions(options.data)
    recipe = recipe_for(len(data.user_ids), len(data.item_ids), len(data.rows), given)
    config = ModelConfig(items=len(data.item_ids), dim=options.dim, layers=options.layers)
    options.out.mkdir(parents=True, exist_ok=True)
    crew, device = join(shared.device_of(options))
    trainer = Trainer(data, config, recipe, options.out, device, crew)
    if crew.rank > 0:  # the first process reports and publishes for all
        trainer.run(lambda line: None)
        leave(crew)
        return
    with RunLog(options.out, recipe.epochs, opening(data, recipe.epochs, device)) as log:
        trained = trainer.run(log)
    leave(crew)
    facts = {"Recipe": recipe.to_dict(), "Model": config.to_dict(), "Data": data.summary()}
    report = write_report(options.out, trained.network, data, trained.metrics, facts)
    extra = shared.run_facts(trained, recipe, options.data.name)
    bundle = publish(options.out / "bundle", trained.network, data, trained.metrics, extra)
    done = {"bundle": str(options.out / "bundle"), "version": bundle.version, "report": str(report)}
    print(json.dumps(done | trained.metrics))
