"""Command line of the training jobs: `python -m model.training`, or `recblr-train`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from ingest.errors import DataError
from model.bundle.bundle import BundleError
from model.bundle.signature import SigningKeyError, signing_key
from model.config import ConfigError
from model.memory_errors import is_out_of_memory
from model.training.cli import (
    evaluate_command,
    export_command,
    import_command,
    nightly_retrain_command,
    retrain_command,
    train_command,
)
from model.training.cli.shared_options import Command

EXIT_ERROR = 2
_OUT_OF_MEMORY = (
    "out of memory; give a smaller --batch or --window for a smaller training step, a lower --full-softmax for a "
    "large catalogue, a smaller --dim for everything, or --device cpu to use no GPU memory"
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one subcommand and return the exit code.

    An error that the user can correct is one sentence on stderr and exit code 2.
    """
    options = _parser().parse_args(arguments)
    command: Command = options.command
    try:
        signing_key()  # an unusable key fails now and not after hours of training
        return command(options) or 0
    except ModuleNotFoundError as error:
        return _fail(
            f"{error.name} is not installed; install the extra 'train': pip install -e '.[train]' in a clone, "
            "or pip install 'WHEEL[train]' with the path of the wheel"
        )
    except KeyboardInterrupt:
        return _fail("interrupted; the same command resumes the run")
    except (DataError, BundleError, ConfigError, SigningKeyError) as error:
        return _fail(str(error))
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        return _fail(_OUT_OF_MEMORY)
    except OSError as error:  # such as a full disk, or a folder without permission
        return _fail(f"{error.filename or 'a file'} cannot be used: {error.strerror or error}")


def _fail(message: str) -> int:
    sys.stderr.write(f"error: {message}\n")
    return EXIT_ERROR


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="recblr-train", description="Train, evaluate and publish RecBLR models.")
    subparsers = parser.add_subparsers(required=True, metavar="COMMAND")
    commands = (
        *(train_command, evaluate_command, retrain_command, nightly_retrain_command),
        *(export_command, import_command),
    )
    for command in commands:
        command.add(subparsers)
    return parser


if __name__ == "__main__":
    sys.exit(main())
