"""Compilation of the engine's kernels with numba, and the folder that keeps the machine code between starts.

The only module that knows numba. Its rules for the kernels' modules:

- A kernel may call kernels of its own module only: numba notices that a module has changed, not that another one has.
- Every argument has one type and one layout wherever it comes from, so a kernel is compiled for one signature.
- Floating-point literals are float64 in numba, so constants are named np.float32 values.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, TypeVar

import numba

Kernel = TypeVar("Kernel", bound=Callable[..., Any])

_log = logging.getLogger(__name__)
_compiled: list[Any] = []


def kernel(function: Kernel) -> Kernel:
    """Compile at the first call, without the GIL. Products and sums may fuse; their order stays as written."""
    return _compile(function, {"contract"})


def reduction(function: Kernel) -> Kernel:
    """As `kernel`, for a function of nothing but sums over an axis, which may be reordered to be vectorised."""
    return _compile(function, {"contract", "reassoc", "nsz"})


def _compile(function: Kernel, liberties: set[str]) -> Kernel:
    # numpy's error model: a division is not tested for zero, or no loop with one in it would be vectorised.
    options: dict[str, Any] = {"nogil": True, "fastmath": liberties, "error_model": "numpy"}
    try:
        compiled = numba.njit(cache=True, **options)(function)
    except RuntimeError:  # numba found no folder that it may write to
        compiled = numba.njit(**options)(function)
    _compiled.append(compiled)
    return compiled  # type: ignore[no-any-return]


def statistics() -> dict[str, tuple[int, int]]:
    """For each kernel that Python has called: how many signatures came from the cache, and how many were compiled."""
    found = {}
    for dispatcher in _compiled:
        hits, built = sum(dispatcher.stats.cache_hits.values()), sum(dispatcher.stats.cache_misses.values())
        if dispatcher.signatures and not hits and not built:  # a kernel without a cache counts nothing
            built = len(dispatcher.signatures)
        if hits or built:
            found[dispatcher.__name__] = (hits, built)
    return found


def compilations() -> int:
    """How many signatures this process has compiled so far."""
    return sum(built for _, built in statistics().values())


def log_compilation(seconds: float, built: int) -> None:
    """Say how a warm-up went that compiled `built` signatures, and what to do where each start compiles anew."""
    folder = next((d.stats.cache_path for d in _compiled if d.stats.cache_path), None)
    if not built:
        _log.info("the engine is warm after %.1f s; nothing was left to compile", seconds)
    elif folder is None:
        _log.warning(
            "the engine was compiled in %.1f s, and will be at each start: no folder for its code is writable; "
            "set NUMBA_CACHE_DIR to one that outlives the process",
            seconds,
        )
    else:
        _log.info("the engine was compiled in %.1f s; its machine code is kept in %s", seconds, folder)
