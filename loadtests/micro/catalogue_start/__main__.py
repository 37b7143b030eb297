"""Benchmark of a worker's start with a large catalogue: time and memory.

    python -m loadtests.micro.catalogue_start [--items 1000000]

Fills a catalogue as the first start does, from records of items with eight attributes, and writes its snapshot. Then
two processes start from the snapshot at the same time. Prints JSON: CPU microseconds per item of the first start
(without the store), seconds and bytes of the snapshot, seconds of a start from it with the model's items mapped, and
memory per item: of a process of its own, and private to each of the two, also after one item in a hundred changed.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil

from loadtests.micro.filter_benchmark import TYPES, made_up_items
from service.core.catalogue.catalogue import Catalogue
from service.core.catalogue.items import to_record
from service.core.catalogue_store import CATALOGUE_SHARDS, Definitions, ShardPosition, StoredItem
from service.store.column_file import ColumnFile

VERSION = "model"
KINDS = 20_000  # distinct items but for their titles
PAGE = 1024  # as the first start applies them
CHANGED_SHARE = 100
_WORKER = "--worker"


class Records:
    """Records of made-up items with eight attributes and distinct titles."""

    def __init__(self) -> None:
        self._records = [to_record(item) for item, _ in zip(made_up_items(KINDS), range(KINDS), strict=False)]

    def item(self, number: int, revision: int) -> StoredItem:
        """Return one item."""
        record = self._records[number % KINDS].replace(b", number ", b", number %d of " % number)
        return StoredItem(f"item-{number}", revision, record)

    def flipped(self, number: int, revision: int) -> StoredItem:
        """Return the item with the other availability."""
        item = self.item(number, revision)
        old, new = b'"available":true', b'"available":false'
        return item._replace(record=item.record.replace(*((old, new) if old in item.record else (new, old))))


def pages(numbers: range) -> Iterator[range]:
    """Yield the numbers of each page."""
    for start in range(0, len(numbers), PAGE):
        yield numbers[start : start + PAGE]


def new_catalogue() -> Catalogue:
    """Return an empty catalogue with eight declared attributes."""
    catalogue = Catalogue(CATALOGUE_SHARDS)
    catalogue.set_definitions(Definitions(ShardPosition(1, "d"), TYPES, {}))
    return catalogue


def private_bytes() -> int:
    """Return the memory that this process shares with none."""
    return int(psutil.Process().memory_full_info().uss)


async def first_start(count: int, path: Path, position: ShardPosition | None = None) -> dict[str, Any]:
    """Fill a catalogue, and write its snapshot, as of a position."""
    catalogue, ids, cpu = new_catalogue(), _ids(count), 0.0
    before = private_bytes()
    await catalogue.add_model(VERSION, ids)
    await catalogue.prepare()
    records = Records()
    for numbers in pages(range(count)):
        page = [records.item(number, number + 1 if position is None else 0) for number in numbers]
        started = time.process_time()
        catalogue.apply(0, position or ShardPosition(page[-1].revision, "t"), page)
        cpu += time.process_time() - started
    memory, started = private_bytes() - before, time.monotonic()
    writer = ColumnFile(path).begin()
    assert writer is not None
    capture = catalogue.capture()
    for array in capture.arrays():
        writer.add(*array)
    rest = capture.finish()
    assert rest is not None
    writer.add(*rest[0])
    size = writer.finish(rest[1])
    writer.close()
    catalogue.close()
    return {
        "first_start_us_per_item": round(cpu / count * 1e6, 2),
        "columns_bytes_per_item": round(catalogue.nbytes / count, 1),
        "process_bytes_per_item": round(memory / count, 1),
        "snapshot_seconds": round(time.monotonic() - started, 2),
        "snapshot_bytes_per_item": round(size / count, 1),
    }


async def start_from_snapshot(count: int, path: Path) -> dict[str, Any]:
    """Start from the snapshot; return the time and the memory."""
    catalogue, ids = new_catalogue(), _ids(count)
    await catalogue.add_model(VERSION, ids)
    before, started, cpu = private_bytes(), time.monotonic(), time.process_time()
    stored = ColumnFile(path).load()
    assert stored is not None
    catalogue.restore(stored)
    await catalogue.prepare()
    loaded = private_bytes()
    found = {
        "seconds": round(time.monotonic() - started, 3),
        "cpu_seconds": round(time.process_time() - cpu, 3),
        "private_bytes_per_item": round((loaded - before) / count, 1),
    }
    records = Records()
    before += private_bytes() - loaded
    for numbers in pages(range(0, count, CHANGED_SHARE)):
        page = [records.flipped(number, count + number) for number in numbers]
        catalogue.apply(0, ShardPosition(page[-1].revision, "t"), page)
    found["private_bytes_per_item_after_changes"] = round((private_bytes() - before) / count, 1)
    assert catalogue.item_count == count
    print(json.dumps(found), flush=True)
    sys.stdin.read()  # the memory of both is measured while both run
    catalogue.close()
    return found


def start_workers(count: int, path: Path) -> list[dict[str, Any]]:
    """Start two processes from the snapshot."""
    command = [sys.executable, "-m", "loadtests.micro.catalogue_start", "--items", str(count), _WORKER, str(path)]
    workers = [subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    found = []
    for worker in workers:
        assert worker.stdout is not None
        found.append(json.loads(worker.stdout.readline()))
    for worker in workers:
        worker.communicate()
    return found


def _ids(count: int) -> list[str]:
    return [f"item-{number}" for number in range(count)]


def main() -> None:
    """Run the benchmark and print its figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, default=1_000_000, help="number of items")
    parser.add_argument(_WORKER, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        asyncio.run(start_from_snapshot(arguments.items, Path(arguments.worker)))
        return
    with tempfile.TemporaryDirectory(prefix="catalogue-start-") as folder:
        path = Path(folder) / "columns"
        # A process of its own, so that its memory is gone before the workers start.
        reader, child = os.pipe(), 0
        child = os.fork()
        if child == 0:
            found = asyncio.run(first_start(arguments.items, path))
            os.write(reader[1], json.dumps(found).encode())
            os._exit(0)
        os.close(reader[1])
        with os.fdopen(reader[0]) as pipe:
            figures = json.loads(pipe.read())
        os.waitpid(child, 0)
        started = start_workers(arguments.items, path)
    print(json.dumps({"items": arguments.items, **figures, "starts_from_snapshot": started}))


if __name__ == "__main__":
    main()
