"""Array types of the engine's kernels.

Every argument has one type, so that a kernel is compiled once.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from model.state_layout import F32

I64 = NDArray[np.int64]
U32 = NDArray[np.uint32]

__all__ = ["F32", "I64", "U32"]
