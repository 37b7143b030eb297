"""Run all measurements, and compare the figures with the targets.

    python -m loadtests.measure_all --peers-python PYTHON                all, about 50 minutes (30 of them the soak)
    python -m loadtests.measure_all --only baselines steady              some
    python -m loadtests.measure_all --only ten_million_items             not among all: ten minutes and 10 GB
    python -m loadtests.measure_all --short --out runs/try               a quick check that everything works
    python -m loadtests.measure_all --only                               no measurement, only the table

Each measurement writes NAME.json and NAME.html into --out; the table is written to table.md there. Run it on an idle
machine: the conditions in each file tell how busy the machine was.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from loadtests.targets import as_table

RESULTS = Path("loadtests/results")
_CLI = "loadtests.cli"


def _scenario(name: str, *options: str) -> tuple[str, ...]:
    return (_CLI, "--scenario", name, *options)


MEASUREMENTS: dict[str, tuple[str, ...]] = {
    "engine": ("loadtests.micro.engine_benchmark", "--items", "3416", "1000000"),
    "baselines": _scenario("baselines", "--seconds", "6"),
    "steady": _scenario("steady", "--rate", "1000", "--seconds", "15", "--warmup", "3"),
    "peers": _scenario("peers", "--seconds", "5"),
    "large_catalogue": _scenario("large_catalogue", "--rate", "500", "--seconds", "8", "--warmup", "2"),
    "history": _scenario("history", "--seconds", "8", "--warmup", "2"),
    "workers": _scenario("workers", "--rounds", "3", "--seconds", "6", "--warmup", "2"),
    "catalogue": _scenario("catalogue", "--rate", "200", "--rounds", "3", "--seconds", "6", "--warmup", "2"),
    "users": _scenario("users", "--rounds", "3", "--seconds", "6", "--warmup", "2"),
    "soak": _scenario("soak", "--seconds", "1800"),
}
ON_REQUEST: dict[str, tuple[str, ...]] = {
    "ten_million_items": (*MEASUREMENTS["catalogue"], "--sizes", "10000000", "--name", "ten_million_items"),
}
# Options appended by --short; of two equal options the last one counts.
SHORT = ("--rounds", "2", "--seconds", "3", "--warmup", "1")
SHORT_SOAK = ("--seconds", "24")
SHORT_SIZES = {
    "large_catalogue": ("120000",),
    "history": ("10", "2000"),
    "catalogue": ("3000", "120000"),
    "users": ("1000",),
}


def main() -> int:
    """Run the command; return 1 if a measurement failed."""
    arguments = _parse_arguments()
    failed = []
    for name in MEASUREMENTS if arguments.only is None else arguments.only:
        command = command_of(name, arguments.out, short=arguments.short, peers_python=arguments.peers_python)
        print(f"{time.strftime('%H:%M:%S')} {name}: {' '.join(command[1:])}", flush=True)
        started = time.monotonic()
        done = subprocess.run(command, stdout=subprocess.DEVNULL, check=False)
        print(f"{time.strftime('%H:%M:%S')} {name}: {time.monotonic() - started:.0f} s", flush=True)
        if done.returncode:
            failed.append(name)
    table = as_table(read_results(arguments.out))
    (arguments.out / "table.md").write_text(table)
    print(table)
    if failed:
        print(f"measurements failed: {', '.join(failed)}", file=sys.stderr)
    return int(bool(failed))


def command_of(name: str, out: Path, *, short: bool = False, peers_python: str | None = None) -> list[str]:
    """Return the command line of a measurement.

    Args:
        name: a key of MEASUREMENTS or ON_REQUEST.
        out: folder of the results.
        short: measure as briefly as possible.
        peers_python: a Python with the extra `peers`.
    """
    module, *options = (MEASUREMENTS | ON_REQUEST)[name]
    command = [sys.executable, "-m", module, *options, "--out", str(out)]
    if module == _CLI and short:
        command += _short_options(name)
    if name == "peers" and peers_python:
        command += ["--peers-python", peers_python]
    return command


def read_results(folder: Path) -> dict[str, dict[str, Any]]:
    """Return the JSON of each measurement in `folder` by name."""
    return {path.stem: json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))}


def _short_options(name: str) -> Sequence[str]:
    sizes = ("--sizes", *SHORT_SIZES[name]) if name in SHORT_SIZES else ()
    return [*SHORT, *(SHORT_SOAK if name == "soak" else ()), *sizes]


def _parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = (*MEASUREMENTS, *ON_REQUEST)
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the results")
    parser.add_argument("--only", nargs="*", choices=names, help="these measurements, in this order")
    parser.add_argument("--peers-python", help="a Python that has the extra `peers`")
    parser.add_argument("--short", action="store_true", help="check that everything works; the figures mean little")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    return arguments


if __name__ == "__main__":
    sys.exit(main())
