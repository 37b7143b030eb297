"""Settings of `recblr-serve --demo`, and its small model.

The model knows an invented outdoor shop (`.ci/make_demo.py`), and was trained on invented purchases.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from service.temporary_folder import temporary_folder

BUNDLE = Path(__file__).parent / "demo_bundle"


@contextmanager
def demo_environment() -> Iterator[None]:
    """Set the demo's environment variables.

    The demo's bundle replaces RECBLR_BUNDLE. Without RECBLR_STATE_URL events are kept in a temporary folder until
    the service stops.
    """
    with temporary_folder("recblr-demo-") as folder:
        os.environ["RECBLR_BUNDLE"] = str(BUNDLE)
        os.environ.setdefault("RECBLR_STATE_URL", f"sqlite:///{folder}/demo.db")
        yield
