"""Options for the model: help texts, given values and defaults."""

from __future__ import annotations

import argparse
from dataclasses import fields

import pytest

from ingest.errors import DataError
from model.training.cli.shared_options import add_device_option, add_model_options, device_from, model_settings_from
from model.training.trainer.hyperparameters import Hyperparameters


@pytest.fixture
def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser()
    add_device_option(parser)
    add_model_options(parser)
    return parser


def test_only_given_hyperparameters_are_in_the_settings(parser: argparse.ArgumentParser) -> None:
    settings = model_settings_from(parser.parse_args(["--dim", "16", "--window", "32", "--dropout", "0.25"]))
    assert (settings.dim, settings.layers) == (16, 2)
    assert settings.given == {"window": 32, "dropout": 0.25}


def test_given_hyperparameter_out_of_range_raises(parser: argparse.ArgumentParser) -> None:
    with pytest.raises(DataError, match="window"):
        model_settings_from(parser.parse_args(["--window", "0"]))


def test_help_explains_every_hyperparameter(parser: argparse.ArgumentParser) -> None:
    text = " ".join(parser.format_help().split())
    for field in fields(Hyperparameters):
        assert "--" + field.name.replace("_", "-") in text
        assert " ".join(field.metadata["help"].split()) in text.replace("- ", "-")
    assert "12 on a GPU for up to 5 million events" in text
    assert "by the size of the data; 200 for MovieLens-1M" in text


def test_device_is_the_given_one(parser: argparse.ArgumentParser) -> None:
    assert device_from(parser.parse_args(["--device", "cpu"])).type == "cpu"
