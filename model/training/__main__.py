"""The training job's command line: `python -m model.training`, or `recblr-train`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from model.bundle.bundle import BundleError
from model.bundle.signature import SigningKeyError, signing_key
from model.config import ConfigError
from model.training.cli import evaluate_command as evaluate
from model.training.cli import export_command as export
from model.training.cli import import_command as importing
from model.training.cli import retrain_command as retrain
from model.training.cli import titles_command as titles
from model.training.cli import train_command as train
from model.training.cli.options import Command
from model.training.errors import DataError, out_of_memory

_OUT_OF_MEMORY = (
    "the memory of the device is not enough; a training step takes less with a smaller --batch or --window, a large "
    "catalogue with a lower --full-softmax, everything with a smaller --dim; --device cpu takes none of the GPU's"
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one subcommand; returns the exit code. What a user can mend is one sentence on stderr and code 2."""
    options = _parser().parse_args(arguments)
    command: Command = options.command
    try:
        signing_key()  # a training of hours must not end with a key that cannot sign
        return command(options) or 0
    except ModuleNotFoundError as error:
        return _fail(f"{error.name} is not installed; install the 'train' extra: pip install 'recblr-service[train]'")
    except KeyboardInterrupt:
        return _fail("stopped; the same command goes on from where it stood")
    except (DataError, BundleError, ConfigError, SigningKeyError) as error:
        return _fail(str(error))
    except (MemoryError, RuntimeError) as error:
        if not out_of_memory(error):
            raise
        return _fail(_OUT_OF_MEMORY)
    except OSError as error:  # a full disk, a folder without permission
        return _fail(f"{error.filename or 'a file'} cannot be used: {error.strerror or error}")


def _fail(message: str) -> int:
    sys.stderr.write(f"error: {message}\n")
    return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="recblr-train", description="Train, evaluate and publish RecBLR models.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for module in (train, evaluate, retrain, export, importing, titles):
        module.add(commands)
    return parser


if __name__ == "__main__":
    sys.exit(main())
