"""Recognise files that are no text by their first bytes."""

from __future__ import annotations

import re
import stat
from pathlib import Path

from ingest.errors import DataError

HEAD_BYTES = 512
# First bytes of a file, and the end of the sentence that refuses it.
_SIGNATURES = {
    b"PK\x03\x04": "a ZIP archive or an Excel workbook; unpack it, or save the sheet as CSV",
    b"\xd0\xcf\x11\xe0": "an old Excel workbook; save the sheet as CSV",
    b"ARROW1": "an Arrow file; write it as Parquet",
    b"FEA1": "a Feather file; write it as Parquet",
    b"Obj\x01": "an Avro file; write it as Parquet or CSV",
    b"ORC": "an ORC file; write it as Parquet or CSV",
    b"PARE": "an encrypted Parquet file; write it without encryption",
    b"SQLite format 3": "a SQLite database; export the table as CSV",
    b"\x89HDF": "an HDF5 file; write the table as Parquet or CSV",
    b"\x80\x02": "a Python pickle, which is never read; write the table as Parquet or CSV",
    b"\x80\x03": "a Python pickle, which is never read; write the table as Parquet or CSV",
    b"\x80\x04": "a Python pickle, which is never read; write the table as Parquet or CSV",
    b"\x80\x05": "a Python pickle, which is never read; write the table as Parquet or CSV",
    b"%PDF": "a PDF; write the table as CSV",
    b"\x93NUMPY": "a NumPy array; write the table as Parquet or CSV",
    b"Rar!": "a RAR archive; unpack it",
    b"7z\xbc\xaf": "a 7-Zip archive; unpack it",
    b"\x04\x22\x4d\x18": "compressed with LZ4; decompress it",
    b"\x5d\x00\x00": "compressed in the old LZMA form; decompress it",
    b"<!DOCTYPE": "a web page; download the file itself",
    b"<html": "a web page; download the file itself",
    b"<?xml": "an XML file; write the table as CSV",
    b"version https://git-lfs": "a pointer of Git LFS; run `git lfs pull`",
}
_INSIDE = {  # of a compressed file
    b"PAR1": "a compressed Parquet file; decompress it",
    b"\x1f\x8b": "compressed twice; decompress it once",
    b"BZh": "compressed twice; decompress it once",
    b"\xfd7zXZ\x00": "compressed twice; decompress it once",
    b"\x28\xb5\x2f\xfd": "compressed twice; decompress it once",
}
_TAR, _TAR_OFFSET = b"ustar", 257


def check_file(path: Path) -> None:
    """Raise `DataError` unless the file can be read more than once."""
    shown = str(path).encode("utf-8", "replace").decode()
    if re.match(r"[a-z][a-z0-9+]+:/", shown):
        raise DataError(f"{shown} is an address; download the file first")
    try:
        mode = path.stat().st_mode
        if not stat.S_ISREG(mode):
            advice = "name a file in it" if stat.S_ISDIR(mode) else "write it to a file first, for it is read twice"
            kind = "a folder" if stat.S_ISDIR(mode) else "a pipe or a device"
            raise DataError(f"{shown} is {kind}; {advice}")
        path.open("rb").close()
    except OSError as error:
        raise DataError(f"{shown} cannot be read: {error.strerror}; correct the path or the permissions") from None


def refuse_known_files(path: Path, head: bytes, *, compressed: bool) -> None:
    """Raise `DataError` for a file of a known form other than text.

    Args:
        path: the file, for the message.
        head: its first `HEAD_BYTES` bytes, decompressed.
        compressed: whether they were compressed.
    """
    if head[_TAR_OFFSET:].startswith(_TAR):
        raise DataError(f"{path} is a TAR archive; unpack it")
    known = _SIGNATURES | _INSIDE if compressed else _SIGNATURES
    for mark, what in known.items():
        if head.startswith(mark):
            raise DataError(f"{path} is {what}")
