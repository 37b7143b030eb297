"""Recording of the files that this process opens."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_recordings: list[tuple[str, list[Path]]] = []


def _audit(event: str, arguments: tuple[object, ...]) -> None:
    if event == "open" and _recordings and isinstance(arguments[0], str):
        for name, opened in _recordings:
            if arguments[0].endswith(name):
                opened.append(Path(arguments[0]))


sys.addaudithook(_audit)  # a hook cannot be removed, so it is added once


@contextmanager
def opened_files(name: str) -> Iterator[list[Path]]:
    """Record the opened files of this name, in any thread."""
    recording: tuple[str, list[Path]] = (name, [])
    _recordings.append(recording)
    try:
        yield recording[1]
    finally:
        _recordings.remove(recording)
