"""Errors of reading and loading data.

DataError    a file, a log or a run cannot be used as asked
"""

from __future__ import annotations


class DataError(Exception):
    """Data, files or settings cannot be used as asked.

    A command line shows the message as it is: it names the file and line, or the option, and the remedy.
    """
