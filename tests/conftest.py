"""What holds for every test, and for the processes it starts."""

from __future__ import annotations

import os

# Before torch is imported. The tensors here are small, and on a busy machine torch's threads wait for each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")
