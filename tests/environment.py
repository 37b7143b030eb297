"""Controlled environment of the tests and of the processes they start."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).parents[1]

# Variables that change how the service or a library works. Locations of caches, devices and temporary files stay.
_REMOVED_PREFIXES = (
    "RECBLR_",
    "BLIS_",
    "GOTO_",
    "KMP_",
    "MKL_",
    "OMP_",
    "OPENBLAS_",
    "PROMETHEUS_",
    "PYTORCH_",
    "TORCH_",
    "UVICORN_",
    "LC_",
)
_REMOVED = frozenset(
    (
        *("ALL_PROXY", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "all_proxy", "http_proxy", "https_proxy", "no_proxy"),
        *("COLUMNS", "LINES", "FORCE_COLOR", "NO_COLOR", "LANG", "LANGUAGE", "TZ"),
        *("PYTHONWARNINGS", "PYTHONOPTIMIZE", "PYTHONHASHSEED", "TRITON_INTERPRET", "WEB_CONCURRENCY"),
        *("WORLD_SIZE", "RANK", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT"),
    )
)
_KEPT_NUMBA = frozenset({"NUMBA_CACHE_DIR"})
# One thread each: the tensors are small, and on a busy machine the threads of a library wait for each other.
_SET = {"LC_ALL": "C.UTF-8", "OMP_NUM_THREADS": "1"}


def controlled(environment: Mapping[str, str]) -> dict[str, str]:
    """Return a copy of `environment` for tests.

    Variables that change results are removed, and those that every test needs are set.
    """
    kept = {
        name: value
        for name, value in environment.items()
        if not name.startswith(_REMOVED_PREFIXES)
        and name not in _REMOVED
        and (not name.startswith("NUMBA_") or name in _KEPT_NUMBA)
    }
    return kept | _SET


def run_python(
    *arguments: str, timeout_seconds: float = 300, environment: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run Python in the repository's root.

    It gets the controlled environment plus `environment`.
    """
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT,
        env=controlled(os.environ) | dict(environment or {}),
        capture_output=True,
        text=True,
        check=False,
        timeout=timeout_seconds,
    )
