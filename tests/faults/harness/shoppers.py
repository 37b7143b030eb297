"""Shoppers who send typed events with recommendation ids."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

from tests.faults.harness.client import Client, Refused, Unanswered

SHOPPERS = 8
K = 8
RETRY_PAUSE_SECONDS = 0.02
TIMEOUT_SECONDS = 120.0


class Shoppers:
    """Concurrent shoppers, each with users of its own.

    Each request is repeated until it is answered. Answers with an item that the user dislikes, or has bought and
    excludes, are `unexpected`.

    Args:
        url: the service.
        users: users, who are dealt out to the shoppers.
        seed: seed of all choices.
        plain_url: a service of the release before, which gets only what that knows.
    """

    def __init__(self, url: str, users: Sequence[str], seed: int, plain_url: str | None = None) -> None:
        self.url, self.plain_url = url, plain_url
        self.users = users
        self.answered = 0  # requests
        self.repeated = 0  # requests that a fault interrupted
        self.unexpected: list[str] = []
        self.done: dict[str, int] = {}  # actions by name
        self._shoppers = [
            _Shopper(self, n, users[n::SHOPPERS], random.Random(f"{seed} {n}")) for n in range(SHOPPERS)
        ]
        self._stop, self._progress = asyncio.Event(), asyncio.Event()

    @classmethod
    def joined(cls, one: Shoppers, other: Shoppers) -> Shoppers:
        """Return the sums of two, which have ended."""
        both = cls(one.url, [*one.users, *other.users], 0)
        both.answered, both.repeated = one.answered + other.answered, one.repeated + other.repeated
        both.unexpected = one.unexpected + other.unexpected
        both.done = dict(Counter(one.done) + Counter(other.done))
        return both

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Shoppers]:
        """Shop inside the context; on exit wait for the last answers."""
        async with asyncio.TaskGroup() as group:
            for shopper in self._shoppers:
                group.create_task(shopper.shop(self._stop))
            try:
                yield self
            finally:
                self._stop.set()

    async def wait_for_answered(self, count: int) -> None:
        """Wait until `count` more requests are answered."""
        target = self.answered + count
        async with asyncio.timeout(TIMEOUT_SECONDS):
            while self.answered < target:
                self._progress.clear()
                await self._progress.wait()

    def figures(self) -> dict[str, object]:
        """Return the figures for the report."""
        return {
            "requests": self.answered,
            "repeated": self.repeated,
            **self.done,
            "unexpected_answers": len(self.unexpected),
        }

    async def ask(self, client: Client, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        """Send a request until it is answered."""
        async with asyncio.timeout(TIMEOUT_SECONDS):
            while True:
                try:
                    status, answer = await client.call(method, path, body)
                except Unanswered as error:
                    self.repeated += not isinstance(error, Refused)
                else:
                    if status == 200 or (method == "DELETE" and status == 404):
                        results = answer.get("results", ()) if status == 200 else ()
                        if all("sequence" in result for result in results):
                            break
                    elif status not in (429, 503):
                        self.unexpected.append(f"{method} {path}: {status} {answer}")
                        break
                await asyncio.sleep(RETRY_PAUSE_SECONDS)
        self.answered += 1
        self._progress.set()
        return answer

    def count(self, action: str) -> None:
        """Count an action for the report."""
        self.done[action] = self.done.get(action, 0) + 1


class _Sent(NamedTuple):
    event_id: str
    item: str
    kind: str


class _Shopper:
    """Acts for its users, one after the other, and remembers their events."""

    def __init__(self, shoppers: Shoppers, number: int, users: Sequence[str], rng: random.Random) -> None:
        self._shoppers, self._number, self._users, self._rng = shoppers, number, users, rng
        self._log: dict[str, list[_Sent]] = {user: [] for user in users}
        self._round = 0

    async def shop(self, stop: asyncio.Event) -> None:
        client = Client(self._shoppers.url)
        plain = Client(self._shoppers.plain_url) if self._shoppers.plain_url else None
        while not stop.is_set():
            self._round += 1
            user = self._rng.choice(self._users)
            text, items = await self._question(client, user)
            await self._look(client, user, text, items)
            if self._rng.random() < 0.3:
                await self._dislike(client, user, text, self._rng.choice(items))
            if self._rng.random() < 0.2 and plain is None:  # the release before must not see a merge half way
                await self._sign_in(client, user)
            if plain is not None:
                await self._plainly(plain, user, self._rng.choice(items))
        client.close()
        if plain is not None:
            plain.close()

    async def _question(self, client: Client, user: str) -> tuple[str, list[str]]:
        """Ask for recommendations; return the id and the items."""
        recent = self._rng.choice(("", "&exclude_events=purchase:1h"))
        answer = await self._ask(client, "GET", f"/users/{user}/recommendations?k={K}&exclude_seen=false{recent}")
        items = [item["item_id"] for item in answer["items"]]
        self._check(user, items, bought=bool(recent))
        return answer["recommendation_id"], items

    def _check(self, user: str, items: Sequence[str], *, bought: bool) -> None:
        newest = {sent.item: sent.kind for sent in self._log[user] if sent.kind != "impression"}
        absent = {item for item, kind in newest.items() if kind == "dislike"}
        if bought:
            absent |= {sent.item for sent in self._log[user] if sent.kind == "purchase"}
        if wrong := absent & set(items):
            self._shoppers.unexpected.append(f"{user} got {sorted(wrong)}, which {self._log[user]} excludes")

    async def _look(self, client: Client, user: str, text: str, items: Sequence[str]) -> None:
        """See some items and open one; perhaps buy it."""
        rng = self._rng
        seen = items[: rng.randrange(1, K + 1)]
        events = [self._event(user, item, "impression", text) for item in seen]
        await self._ask(client, "POST", "/events/batch", {"events": events})
        clicked = rng.choice(seen)
        await self._send(client, user, clicked, rng.choice(("view", "cart", "like")), text)
        if rng.random() < 0.5:
            bought = await self._send(client, user, clicked, "purchase", text, value=rng.randrange(1, 10_000) / 100)
            if rng.random() < 0.3:
                await self._undo(client, user, bought)
        if rng.random() < 0.5:
            cut = rng.randrange(1, len(text))
            wrong = rng.choice((text[:cut], text[:cut] + rng.choice("xyz") * 3 + text[cut + 3 :]))
            await self._send(client, user, clicked, "view", wrong)
            self._shoppers.count("forged")
        if rng.random() < 0.2:  # the id of an answer to someone else
            await self._send(client, rng.choice(self._users), clicked, "view", text)

    async def _dislike(self, client: Client, user: str, text: str, item: str) -> None:
        sent = await self._send(client, user, item, "dislike", text)
        self._shoppers.count("disliked")
        if self._rng.random() < 0.2:
            await self._undo(client, user, sent)
        elif self._rng.random() < 0.5:
            await self._question(client, user)

    async def _sign_in(self, client: Client, user: str) -> None:
        """Act as a visitor, and merge the visitor into the user."""
        visitor = f"visitor-of-{user}-{self._round}"
        self._log[visitor] = []
        text, items = await self._question(client, visitor)
        await self._look(client, visitor, text, items)
        await self._send(client, visitor, items[-1], "dislike", text)
        await self._ask(client, "POST", f"/users/{user}/merge", {"from_user_id": visitor})
        self._log[user] += self._log.pop(visitor)
        self._shoppers.count("merged")

    async def _plainly(self, client: Client, user: str, item: str) -> None:
        """Send a plain event to the release before, and ask it."""
        event = {"user_id": user, "item_id": item, "event_id": f"plain-{self._number}-{self._round}"}
        await self._ask(client, "POST", "/events?k=3", event)
        self._log[user].append(_Sent(event["event_id"], item, "view"))
        await self._ask(client, "GET", f"/users/{user}/recommendations?k={K}")
        self._shoppers.count("plain")

    async def _send(
        self, client: Client, user: str, item: str, kind: str, text: str, value: float | None = None
    ) -> _Sent:
        event = self._event(user, item, kind, text)
        if value is not None:
            event["value"] = value
        await self._ask(client, "POST", self._rng.choice(("/events", "/events?k=3")), event)
        sent = _Sent(event["event_id"], item, kind)
        self._log[user].append(sent)
        return sent

    async def _undo(self, client: Client, user: str, sent: _Sent) -> None:
        await self._ask(client, "DELETE", f"/users/{user}/events/{sent.event_id}")
        self._log[user].remove(sent)
        self._shoppers.count("undone")

    def _event(self, user: str, item: str, kind: str, text: str) -> dict[str, Any]:
        event_id = f"{kind}-{self._number}-{self._round}-{self._rng.getrandbits(48):x}"
        return {"user_id": user, "item_id": item, "event_id": event_id, "type": kind, "recommendation_id": text}

    async def _ask(self, client: Client, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        return await self._shoppers.ask(client, method, path, body)
