"""Turn a text file of any compression and encoding into plain UTF-8."""

from __future__ import annotations

import bz2
import codecs
import contextlib
import gzip
import io
import lzma
import tempfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, cast

import pyarrow as pa

from ingest.errors import DataError
from ingest.reading.duckdb_reader import MAX_LINE_BYTES
from ingest.reading.file_signatures import HEAD_BYTES, refuse_known_files

_SAMPLE = 1 << 20
_COPY = 1 << 20

_Open = Callable[[Path], IO[bytes]]


def _open_gzip(path: Path) -> IO[bytes]:
    return cast(IO[bytes], gzip.GzipFile(path))


def _open_bzip2(path: Path) -> IO[bytes]:
    return cast(IO[bytes], bz2.BZ2File(path))


def _open_xz(path: Path) -> IO[bytes]:
    return cast(IO[bytes], lzma.LZMAFile(path))


def _open_zstd(path: Path) -> IO[bytes]:
    return cast(IO[bytes], pa.input_stream(str(path), compression="zstd"))


_COMPRESSIONS: dict[bytes, _Open] = {
    b"\x1f\x8b": _open_gzip,
    b"BZh": _open_bzip2,
    b"\xfd7zXZ\x00": _open_xz,
    b"\x28\xb5\x2f\xfd": _open_zstd,
}
_IGNORED = b"\0 \t\r\n" + codecs.BOM_UTF8 + codecs.BOM_UTF16_LE  # before the first bracket of JSON
_MARKS = (  # byte order marks, the longer first
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


@contextlib.contextmanager
def open_plain_text(path: Path, encoding: str | None) -> Iterator[Path]:
    """Provide `path` as a plain UTF-8 file.

    It is `path` itself, or a temporary copy that is removed afterwards. A copy is made of compressed files, of other
    encodings, and of files whose lines do not all end alike.

    Raises:
        DataError: the file is empty, damaged, binary, or not in its encoding.
    """
    source = _compression(path)
    with _reading(path), source(path) as file:
        sample = file.read(_SAMPLE)
    refuse_known_files(path, sample[:HEAD_BYTES], compressed=source is not _open_file)
    codec = encoding or _encoding(path, sample)
    length = _LineLength(path, MAX_LINE_BYTES if sample.translate(None, _IGNORED)[:1] not in (b"{", b"[") else None)
    if source is _open_file and codec in ("utf-8", "utf8") and _lines_end_alike(path, length):
        yield path
        return
    with tempfile.NamedTemporaryFile(prefix="recblr-", suffix=".txt") as copy:
        with _reading(path), source(path) as file:
            _copy(path, file, copy, codec, length.restarted())
        copy.flush()
        yield Path(copy.name)


def _open_file(path: Path) -> IO[bytes]:
    return path.open("rb")


def _lines_end_alike(path: Path, length: _LineLength) -> bool:
    """Return whether all lines end with LF, or all with CR LF."""
    feeds = returns = pairs = 0
    ends_with_return = False
    with _reading(path), path.open("rb") as file:
        while block := file.read(_COPY):
            length.check(block)
            feeds += block.count(b"\n")
            if ends_with_return and block.startswith(b"\n"):
                pairs += 1
            if b"\r" in block:
                returns += block.count(b"\r")
                pairs += block.count(b"\r\n")
            ends_with_return = block.endswith(b"\r")
    return returns == 0 or feeds == returns == pairs


class _LineLength:
    """Refuses lines that are too long; with a limit of None none.

    DuckDB leaves out, without a word, a line that is longer than its buffers.
    """

    def __init__(self, path: Path, limit: int | None) -> None:
        self._path, self._limit = path, limit
        self._lines = self._pending = 0  # lines before, and bytes of the line that goes on

    def restarted(self) -> _LineLength:
        """Return the same for reading the file once more."""
        return _LineLength(self._path, self._limit)

    def check(self, block: bytes) -> None:
        """Raise `DataError` if a line that ends here is too long."""
        first = block.find(b"\n")
        if self._limit is not None and self._pending + (len(block) if first < 0 else first) > self._limit:
            raise DataError(
                f"{self._path}:{self._lines + 1} is longer than {self._limit >> 20} MiB; remove the line, or "
                "the column of long texts"
            )
        self._lines += block.count(b"\n")
        self._pending = self._pending + len(block) if first < 0 else len(block) - block.rfind(b"\n") - 1


def _compression(path: Path) -> _Open:
    with _reading(path), path.open("rb") as file:
        head = file.read(16)
    if not head:
        raise DataError(f"{path} is empty")
    return next((source for mark, source in _COMPRESSIONS.items() if head.startswith(mark)), _open_file)


def _encoding(path: Path, sample: bytes) -> str:
    """Return the codec by the byte order mark, else UTF-8."""
    for mark, codec in _MARKS:
        if sample.startswith(mark):
            return codec
    if b"\0" in sample:
        even, odd = sample[0:4096:2].count(0), sample[1:4096:2].count(0)
        hint = "utf-16-be" if even > odd else "utf-16-le"
        line = sample[: sample.index(0)].count(b"\n") + 1
        raise DataError(
            f"{path}:{line} holds a zero byte: no table of text has one; if it is UTF-16, pass --encoding {hint}"
        )
    return "utf-8"


def _copy(path: Path, file: IO[bytes], copy: IO[bytes], codec: str, length: _LineLength) -> None:
    try:
        decoder = codecs.getincrementaldecoder(codec)()
        "".encode(codec)  # refuses codecs that do not encode text
    except (LookupError, UnicodeError):
        raise DataError(f"--encoding {codec} is unknown; try utf-8, latin-1, cp1252 or utf-16") from None
    newline = io.IncrementalNewlineDecoder(None, translate=True)
    lines = 1
    while True:
        block = file.read(_COPY)
        try:
            text = newline.decode(decoder.decode(block, final=not block), final=not block)
        except UnicodeError as error:
            begin, reason = (error.start, error.reason) if isinstance(error, UnicodeDecodeError) else (0, str(error))
            line = lines + block[:begin].count(b"\n")
            raise DataError(f"{path}:{line} is not {codec} ({reason}); name its encoding with --encoding") from None
        lines += text.count("\n")
        plain = text.encode("utf-8", "strict")
        length.check(plain)
        try:
            copy.write(plain)
        except OSError as error:
            raise DataError(
                f"{tempfile.gettempdir()} cannot take a copy of {path} ({error.strerror}); "
                "set TMPDIR to a folder with more room"
            ) from None
        if not block:
            return


@contextlib.contextmanager
def _reading(path: Path) -> Iterator[None]:
    try:
        yield
    except (EOFError, zlib.error, lzma.LZMAError, gzip.BadGzipFile, pa.ArrowException) as error:
        raise DataError(f"{path} is compressed and damaged or cut off ({error}); copy it again") from None
    except OSError as error:
        if error.errno is None:  # Arrow's error for damaged zstd
            raise DataError(f"{path} is compressed and damaged or cut off ({error}); copy it again") from None
        raise DataError(f"{path} cannot be read: {error.strerror}") from None
