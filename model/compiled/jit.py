"""Compilation of kernels with numba, cached between starts.

The only module that imports numba. Rules for modules with kernels:

- A kernel may call kernels of its own folder and of this one: cached code is recompiled when a file of them changes.
- Every argument has one type and one memory layout at all calls, so a kernel is compiled for one signature.
- Floating-point literals are float64 in numba, so constants are named np.float32 values.
"""

from __future__ import annotations

import hashlib
import inspect
import logging
import pickle
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import numba
from numba.core.caching import IndexDataCacheFile

Kernel = TypeVar("Kernel", bound=Callable[..., Any])

_log = logging.getLogger(__name__)
_dispatchers: list[Any] = []
_logged_failures: set[str] = set()


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


def max_reduction(function: Kernel) -> Kernel:
    """Compile a function that finds the largest value of an axis.

    Comparisons may be reordered, so that they are vectorised. No value may be NaN.
    """
    return _compile(function, {"nnan", "reassoc", "nsz"})


def _compile(function: Kernel, fast_math: set[str]) -> Kernel:
    # numpy's error model does not test divisors for zero; the test would prevent vectorised loops.
    options: dict[str, Any] = {"nogil": True, "fastmath": fast_math, "error_model": "numpy"}
    try:
        dispatcher = numba.njit(cache=True, **options)(function)
        dispatcher._cache = _GuardedCache(dispatcher._cache, _folder_stamp(function))
    except (RuntimeError, AttributeError, OSError):  # no writable folder, or a numba without these attributes
        dispatcher = numba.njit(**options)(function)
    _dispatchers.append(dispatcher)
    return dispatcher  # type: ignore[no-any-return]


def _folder_stamp(function: Kernel) -> tuple[object, ...]:
    """Return name, time and size of the files behind cached code.

    These are all files of the function's folder and of this one, whose kernels it may call. numba by itself only
    notices changes of the function's own file.
    """
    folders = {Path(inspect.getfile(function)).parent, Path(__file__).parent}
    return tuple(file for folder in sorted(folders) for file in _files(folder))


@cache
def _files(folder: Path) -> list[tuple[str, int, int]]:
    states = [(path, path.stat()) for path in sorted(folder.glob("*.py"))]
    return [(path.name, state.st_mtime_ns, state.st_size) for path, state in states]


class _CheckedCacheFile(IndexDataCacheFile):
    """Cache whose files begin with their SHA-256."""

    def _save_index(self, overloads: dict[object, str]) -> None:
        self._write(self._index_path, (self._version, self._source_stamp, overloads))

    def _load_index(self) -> dict[object, str]:
        try:
            version, stamp, overloads = self._read(self._index_path)
        except FileNotFoundError:
            return {}
        return overloads if (version, stamp) == (self._version, self._source_stamp) else {}

    def _save_data(self, name: str, data: object) -> None:
        self._write(self._data_path(name), data)  # type: ignore[no-untyped-call]

    def _load_data(self, name: str) -> object:
        return self._read(self._data_path(name))  # type: ignore[no-untyped-call]

    def _write(self, path: str, content: object) -> None:
        data = self._dump(content)  # type: ignore[no-untyped-call]
        with self._open_for_write(path) as file:
            file.write(hashlib.sha256(data).digest() + data)

    def _read(self, path: str) -> Any:  # noqa: ANN401
        data = Path(path).read_bytes()
        if hashlib.sha256(data[32:]).digest() != data[:32]:
            raise ValueError(f"{path} is damaged")
        return pickle.loads(data[32:])  # noqa: S301 - whoever can write to this folder can also run code here


class _GuardedCache:
    """Cache of one kernel that compiles if its files cannot be used.

    numba raises whatever a damaged file, a full disk or a changed permission brings.
    """

    failed = False  # whether machine code could not be kept, in any kernel

    def __init__(self, cache: Any, stamp: tuple[object, ...]) -> None:  # noqa: ANN401 - numba has no types
        self._cache = cache
        found = cache._cache_file
        files = cache.cache_path, f"{cache._impl.filename_base}.checked", (found._source_stamp, stamp)
        cache._cache_file = _CheckedCacheFile(*files)  # type: ignore[no-untyped-call]

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401
        return getattr(self._cache, name)

    def load_overload(self, signature: object, target: object) -> object:
        """Return the cached code, or None."""
        try:
            return self._cache.load_overload(signature, target)
        except Exception as error:
            self._log_failure("read", error)
            with suppress(Exception):
                self._cache.flush()  # so that the compiled code can be saved
        return None

    def save_overload(self, signature: object, code: object) -> None:
        """Keep the compiled code if possible."""
        try:
            self._cache.save_overload(signature, code)
        except Exception as error:
            self._log_failure("write", error)
            type(self).failed = True

    def _log_failure(self, action: str, error: Exception) -> None:
        """Log the first failure; the other kernels share the folder."""
        if action not in _logged_failures:
            _logged_failures.add(action)
            fields = {"folder": self._cache.cache_path, "reason": repr(error)}
            _log.warning("cannot %s cached machine code; compiling it", action, extra=fields)


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


def cache_folder() -> Path | None:
    """Return the machine code's folder; None if some was not kept."""
    if _GuardedCache.failed:
        return None
    return next((Path(each.stats.cache_path) for each in _dispatchers if each.stats.cache_path), None)
