"""Raw server in a process of its own.

    python -m tests.attack.limited_server

Prints its port, and ends when its input does.
"""

from __future__ import annotations

import logging
import sys

from tests.attack.raw_server import FAST, RawServer

if __name__ == "__main__":
    logging.basicConfig(format="%(message)s limit=%(limit)s")
    with RawServer(FAST) as server:
        print(server.port, flush=True)
        sys.stdin.read()
