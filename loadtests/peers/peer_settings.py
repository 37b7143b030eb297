"""Settings of the peers' servers, passed in environment variables.

The peers start worker processes of their own, which inherit the environment. This module imports no torch, so that
`compare` runs without it.
"""

from __future__ import annotations

BUNDLE = "LOADTEST_BUNDLE"
PORT = "LOADTEST_PORT"
THREADS = "LOADTEST_TORCH_THREADS"

# Items of a history that count.
HISTORY_LENGTH = 200
