"""Compilation of the engine's kernels with numba, cached between starts.

The only module that imports numba. Rules for modules with kernels:

- A kernel may call kernels of its own folder only: cached code is recompiled when a file of that folder changes.
- Every argument has one type and one memory layout at all calls, so a kernel is compiled for one signature.
- Floating-point literals are float64 in numba, so constants are named np.float32 values.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numba

Kernel = TypeVar("Kernel", bound=Callable[..., Any])

_log = logging.getLogger(__name__)
_dispatchers: list[Any] = []


def kernel(function: Kernel) -> Kernel:
    """Compile at the first call, without the GIL.

    Multiplications and additions may be fused; the order of operations stays as written.
    """
    return _compile(function, {"contract"})


def reduction(function: Kernel) -> Kernel:
    """Compile a function that only sums over an axis.

    Unlike in `kernel`, additions may be reordered, so that they are vectorised.
    """
    return _compile(function, {"contract", "reassoc", "nsz"})


def _compile(function: Kernel, fast_math: set[str]) -> Kernel:
    # numpy's error model does not test divisors for zero; the test would prevent vectorised loops.
    options: dict[str, Any] = {"nogil": True, "fastmath": fast_math, "error_model": "numpy"}
    try:
        dispatcher = numba.njit(cache=True, **options)(function)
        _stamp_with_folder(dispatcher, function)
    except (RuntimeError, AttributeError):  # no writable folder, or a numba without these attributes
        dispatcher = numba.njit(**options)(function)
    _dispatchers.append(dispatcher)
    return dispatcher  # type: ignore[no-any-return]


def _stamp_with_folder(dispatcher: Any, function: Kernel) -> None:  # noqa: ANN401 - numba has no types
    """Make cached code depend on all files of the function's folder.

    numba by itself only notices changes of the function's own file.
    """
    states = [(path, path.stat()) for path in sorted(Path(inspect.getfile(function)).parent.glob("*.py"))]
    stamp = tuple((path.name, state.st_mtime_ns, state.st_size) for path, state in states)
    cache_file = dispatcher._cache._cache_file
    cache_file._source_stamp = (cache_file._source_stamp, stamp)


def statistics() -> dict[str, tuple[int, int]]:
    """Return how many signatures were cached and compiled, by kernel.

    Only kernels that Python has called are listed.
    """
    found = {}
    for dispatcher in _dispatchers:
        cached, compiled = sum(dispatcher.stats.cache_hits.values()), sum(dispatcher.stats.cache_misses.values())
        if dispatcher.signatures and not cached and not compiled:  # a kernel without a cache counts nothing
            compiled = len(dispatcher.signatures)
        if cached or compiled:
            found[dispatcher.__name__] = (cached, compiled)
    return found


def compilations() -> int:
    """Return how many signatures this process has compiled so far."""
    return sum(compiled for _, compiled in statistics().values())


def log_compilation(seconds: float, compiled: int) -> None:
    """Log a warm-up, with the number of signatures it compiled.

    Warns if every start will compile again.
    """
    folder = next((d.stats.cache_path for d in _dispatchers if d.stats.cache_path), None)
    if not compiled:
        _log.info("engine warmed up, all machine code was cached: seconds=%.1f", seconds)
    elif folder is None:
        _log.warning(
            "engine compiled, but no folder for machine code is writable, so every start compiles again; "
            "set NUMBA_CACHE_DIR to a folder that outlives the process: seconds=%.1f",
            seconds,
        )
    else:
        _log.info("engine compiled: seconds=%.1f cache=%s", seconds, folder)
