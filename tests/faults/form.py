"""The two forms of a fault test: the short one of the suite, and the long one of `make faults`."""

from __future__ import annotations

import json
import os

LONG = os.environ.get("FAULTS") == "long"


def times(short: int, long: int) -> int:
    """How often: in the form that runs now."""
    return long if LONG else short


def report(fault: str, **figures: object) -> None:
    """One line of JSON on standard output, which `make faults` shows."""
    print(json.dumps({"fault": fault, "form": "long" if LONG else "short", **figures}))
