"""Queue in which callers alternate."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Iterator
from typing import Generic, TypeVar

Item = TypeVar("Item")


class FairQueue(Generic[Item]):
    """First-in-first-out queues of several callers, which alternate.

    A caller with one item waits for at most one item of each other caller, however many these have queued.
    """

    def __init__(self) -> None:
        self._queues: OrderedDict[str, deque[Item]] = OrderedDict()
        self._length = 0

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[Item]:
        for queue in self._queues.values():
            yield from queue

    def append(self, caller: str, item: Item) -> None:
        """Queue an item behind the caller's others."""
        queue = self._queues.get(caller)
        if queue is None:
            queue = self._queues[caller] = deque()
        queue.append(item)
        self._length += 1

    def popleft(self) -> Item:
        """Remove and return the oldest item of the next caller."""
        caller, queue = next(iter(self._queues.items()))
        item = queue.popleft()
        self._length -= 1
        if queue:
            self._queues.move_to_end(caller)
        else:
            del self._queues[caller]
        return item

    def make_room(self, caller: str) -> Item | None:
        """Remove the newest item of the caller with the most items.

        Returns:
            The item, or None if `caller` itself has as many as any other.
        """
        longest = max(self._queues, key=lambda each: len(self._queues[each]), default=caller)
        if len(self._queues.get(caller, ())) >= len(self._queues.get(longest, ())):
            return None
        self._length -= 1
        return self._queues[longest].pop()

    def clear(self) -> None:
        """Remove all items."""
        self._queues.clear()
        self._length = 0
