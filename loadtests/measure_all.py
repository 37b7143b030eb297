"""All that the README's figures come from, one measurement after the other, and what was wanted beside it.

    python -m loadtests.measure_all --peers-python PYTHON                all, in about 50 minutes; 30 of them are the soak
    python -m loadtests.measure_all --only floors rate                   some
    python -m loadtests.measure_all --only ten-million                   not among all: ten minutes more, and 10 GB
    python -m loadtests.measure_all --short --out runs/try               whether it all works, in some minutes
    python -m loadtests.measure_all --only                               no measurement, the table from what is there

Each writes NAME.json and NAME.html into --out; the table goes to table.md there. Run it on a machine that does
nothing else: the conditions in each file tell how busy it was.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from loadtests.targets import as_table

RUN = "loadtests.cli"
STEPS: dict[str, tuple[str, ...]] = {
    "engine": ("loadtests.micro.engine", "--items", "3416", "1000000"),
    "floors": (RUN, "--scenario", "floors", "--seconds", "6"),
    "rate": (RUN, "--scenario", "rate", "--rate", "1000", "--seconds", "15", "--warmup", "3"),
    "peers": (RUN, "--scenario", "peers", "--seconds", "5"),
    "million": (RUN, "--scenario", "million", "--rate", "500", "--seconds", "8", "--warmup", "2"),
    "history": (RUN, "--scenario", "history", "--seconds", "8", "--warmup", "2"),
    "workers": (RUN, "--scenario", "workers", "--rounds", "3", "--seconds", "6", "--warmup", "2"),
    "catalogue": (
        RUN,
        "--scenario",
        "catalogue",
        "--rate",
        "200",
        "--rounds",
        "3",
        "--seconds",
        "6",
        "--warmup",
        "2",
    ),
    "users": (RUN, "--scenario", "users", "--rounds", "3", "--seconds", "6", "--warmup", "2"),
    "soak": (RUN, "--scenario", "soak", "--seconds", "1800"),
}
EXTRA: dict[str, tuple[str, ...]] = {
    "ten-million": (*STEPS["catalogue"], "--sizes", "10000000", "--name", "ten-million"),
}
# What --short changes; the last of two equal options counts.
SHORT = ("--rounds", "2", "--seconds", "3", "--warmup", "1")
SHORT_SIZES = {"million": ("120000",), "history": ("10", "2000"), "catalogue": ("3000", "120000"), "users": ("1000",)}


def main() -> int:
    """The command; 1 if a measurement failed."""
    chosen = _arguments()
    failed = []
    for name in STEPS if chosen.only is None else chosen.only:
        command = _command(name, chosen)
        print(f"{time.strftime('%H:%M:%S')} {name}: {' '.join(command[1:])}", flush=True)
        began = time.monotonic()
        done = subprocess.run(command, stdout=subprocess.DEVNULL, check=False)
        print(f"{time.strftime('%H:%M:%S')} {name}: {time.monotonic() - began:.0f} s", flush=True)
        if done.returncode:
            failed.append(name)
    found = {path.stem: json.loads(path.read_text()) for path in sorted(chosen.out.glob("*.json"))}
    table = as_table(found)
    (chosen.out / "table.md").write_text(table)
    print(table)
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
    return int(bool(failed))


def _command(name: str, chosen: argparse.Namespace) -> list[str]:
    module, *options = (STEPS | EXTRA)[name]
    command = [sys.executable, "-m", module, *options, "--out", str(chosen.out)]
    if module == RUN:
        command += _short(name) if chosen.short else []
        command += ["--peers-python", chosen.peers_python] if name == "peers" and chosen.peers_python else []
    return command


def _short(name: str) -> Sequence[str]:
    sizes = ("--sizes", *SHORT_SIZES[name]) if name in SHORT_SIZES else ()
    return [*SHORT, *(("--seconds", "24") if name == "soak" else ()), *sizes]


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("loadtests/results"), help="folder of the results")
    parser.add_argument("--only", nargs="*", choices=(*STEPS, *EXTRA), help="these measurements, in this order")
    parser.add_argument("--peers-python", help="a Python that has the extra `peers`")
    parser.add_argument("--short", action="store_true", help="try everything out, with figures that mean little")
    chosen = parser.parse_args()
    chosen.out.mkdir(parents=True, exist_ok=True)
    return chosen


if __name__ == "__main__":
    sys.exit(main())
