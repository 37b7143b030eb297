"""Import of faiss, with its BLAS set to this processor."""

from __future__ import annotations

import os
from types import ModuleType

# Names of processors in current OpenBLAS releases -> the names that the OpenBLAS in faiss' wheel knows.
_BLAS_CORES = {
    "Haswell": "Haswell",
    "Zen": "Zen",
    "SkylakeX": "SkylakeX",
    "Cooperlake": "SkylakeX",
    "SapphireRapids": "SkylakeX",
}
_BLAS_VARIABLE = "OPENBLAS_CORETYPE"


def import_faiss() -> ModuleType:
    """Import faiss with its BLAS set to this processor.

    Only large catalogues need faiss. Its wheel bundles an OpenBLAS from 2021, which treats newer processors as a
    2004 model and then builds an index three times slower (decision 0047). numpy's OpenBLAS knows more processors. A
    processor that the user has set stays as it is.
    """
    from threadpoolctl import threadpool_info  # type: ignore[import-untyped]

    names = (library.get("architecture") for library in threadpool_info() if library["internal_api"] == "openblas")
    core = next((_BLAS_CORES[name] for name in names if name in _BLAS_CORES), None)
    if core is None or _BLAS_VARIABLE in os.environ:
        import faiss
    else:
        os.environ[_BLAS_VARIABLE] = core  # OpenBLAS reads it once, when it is loaded
        try:
            import faiss
        finally:
            del os.environ[_BLAS_VARIABLE]
    return faiss
