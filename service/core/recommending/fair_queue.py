"""Queue in which callers alternate."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Iterator
from typing import Generic, TypeVar

Item = TypeVar("Item")


class FairQueue(Generic[Item]):
    """First-in-first-out queues of several callers, which alternate.

    A caller with one item waits for at most one item of each other caller, however many these have queued.

    The attribute `length` is the number of items.
    """

    def __init__(self) -> None:
        self._queues: OrderedDict[str, deque[Item]] = OrderedDict()
        self.length = 0

    def __iter__(self) -> Iterator[Item]:
        for queue in self._queues.values():
            yield from queue

    def append(self, caller: str, item: Item) -> None:
        """Queue an item behind the caller's others."""
        queue = self._queues.get(caller)
        if queue is None:
            queue = self._queues[caller] = deque()
        queue.append(item)
        self.length += 1

    def take(self, count: int) -> list[Item]:
        """Remove and return at most `count` items, callers in turn."""
        queues = self._queues
        if len(queues) == 1 and self.length <= count:  # ordinary: one caller, and all of its items
            [queue] = queues.values()
            queues.clear()
            self.length = 0
            return [*queue]
        taken: list[Item] = []
        while queues and len(taken) < count:
            caller, queue = queues.popitem(last=False)
            taken.append(queue.popleft())
            if queue:
                queues[caller] = queue  # behind the other callers
        self.length -= len(taken)
        return taken

    def make_room(self, caller: str) -> Item | None:
        """Remove the newest item of the caller with the most items.

        Returns:
            The item, or None if `caller` itself has as many as any other.
        """
        longest = max(self._queues, key=lambda each: len(self._queues[each]), default=caller)
        if len(self._queues.get(caller, ())) >= len(self._queues.get(longest, ())):
            return None
        queue = self._queues[longest]
        item = queue.pop()
        if not queue:
            del self._queues[longest]
        self.length -= 1
        return item

    def clear(self) -> None:
        """Remove all items."""
        self._queues.clear()
        self.length = 0
