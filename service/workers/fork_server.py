"""Worker processes that share the memory of what each of them needs.

uvicorn starts every worker as a new interpreter: 110 MB that no two workers share. On Linux they are forked instead,
from a fork server that has imported the service and loaded the engine's kernels (`preload`). A worker then costs
about 30 MB, and starts faster (decision 0105).
"""

from __future__ import annotations

import multiprocessing
import sys

import uvicorn._subprocess

PRELOAD = "service.workers.preload"


def fork_workers() -> None:
    """Let uvicorn fork its workers from a fork server, on Linux.

    Elsewhere the system's libraries may not be forked.
    """
    if sys.platform == "linux":
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload([PRELOAD])
        uvicorn._subprocess.spawn = context  # type: ignore[assignment]
