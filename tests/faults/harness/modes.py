"""Short fault tests for the suite, long ones for `make faults`."""

from __future__ import annotations

import json
import os

LONG = os.environ.get("FAULTS") == "long"


def short_or_long(short: int, long: int) -> int:
    """Return the number for the current mode."""
    return long if LONG else short


def report(fault: str, **figures: object) -> None:
    """Print a line of JSON, which `make faults` shows."""
    print(json.dumps({"fault": fault, "mode": "long" if LONG else "short", **figures}))
