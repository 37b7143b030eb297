"""Errors of reading and loading data.

DataError    a file, a log or a run cannot be used as asked
"""

from __future__ import annotations


class DataError(Exception):
    """The data cannot be used as asked.

    The message names the file, the line and the remedy.
    """
