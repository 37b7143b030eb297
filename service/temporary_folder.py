"""Temporary folders, also in containers whose root is read-only."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from service.settings import SettingsError


def temporary_folder(prefix: str) -> tempfile.TemporaryDirectory[str]:
    """Create a folder that is removed at the end; raises `SettingsError`.

    A container with a read-only root usually still has /dev/shm.
    """
    for parent in (None, "/dev/shm"):  # noqa: S108 - a new private folder within
        with suppress(OSError):
            return tempfile.TemporaryDirectory(prefix=prefix, dir=parent)
    raise SettingsError(
        "no folder for temporary files can be written (several workers share metrics there): name one with TMPDIR, "
        "or set RECBLR_WORKERS=1."
    )


@contextmanager
def shared_metrics_folder(workers: int) -> Iterator[None]:
    """Provide the folder in which several workers share their metrics."""
    if workers == 1:
        yield
        return
    with temporary_folder("recblr-metrics-") as folder:
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = folder
        yield
