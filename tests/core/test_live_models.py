"""Workers on one store exchange their models together or not at all, and find what was decided after a restart."""

from __future__ import annotations

import asyncio
import gc
import logging
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from itertools import count

import pytest

from service.core.errors import ModelVersionNotFound, ReloadRefused, ServiceError, StoreUnavailable, SwapUnfinished
from service.core.exchange import Patience
from service.core.live_models import LiveModels
from service.core.ports import BundleRefused, Engine, Published
from service.core.rollout import NOTE, Rollout, Serving, Split, decode_rollout
from service.core.settle import settle
from tests.core.fakes import FakeEngine, MemoryStore

_names = (f"worker {n}" for n in count(1000))


class FakeBundles:
    """Versions in order of publication; `bad` ones fail their check, and `gate` holds loads up (of `gated`)."""

    def __init__(self, *versions: str) -> None:
        self.versions = list(versions)
        self.bad: set[str] = set()
        self.loads: list[str] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.gated: str | None = None
        self.stamp = 0
        self._asked = -1

    def publish(self, version: str) -> None:
        self.versions.append(version)
        self.stamp += 1

    async def published(self) -> list[Published]:
        # A version's own digits stand for the time of its creation.
        return sorted((Published(v, (v.zfill(5), v)) for v in self.versions), key=lambda each: each.place)

    async def changed(self) -> bool:
        before, self._asked = self._asked, self.stamp
        return self._asked != before

    async def load(self, version: str) -> Engine:
        self.loads.append(version)
        if self.gated in (None, version):
            await self.gate.wait()
        if version not in self.versions:
            raise ModelVersionNotFound(f"there is no version {version!r}")
        if version in self.bad:
            raise BundleRefused(f"{version} is damaged", for_log=f"/bundles/{version} is damaged")
        return FakeEngine(version)


class UnsureStore(MemoryStore):
    """Goes away right after a write of the models' note, whose answer is lost, where `lose` says so of its text.

    While `held` is set, what is read comes late: once that is, too.
    """

    def __init__(self) -> None:
        super().__init__()
        self.lose: Callable[[Rollout], bool] = lambda rollout: False
        self.held: asyncio.Event | None = None

    async def notes(self) -> dict[str, str]:
        found, held = await super().notes(), self.held
        if held is not None:
            self.held = None
            await held.wait()
        return found

    async def swap_note(self, name: str, expected: str | None, text: str | None) -> bool:
        swapped = await super().swap_note(name, expected, text)
        if name == NOTE and (rollout := decode_rollout(text)) is not None and self.lose(rollout):
            self.down = True
            raise StoreUnavailable("the event log did not answer in time")
        return swapped


class Place:
    """A store, and workers that come and go."""

    def __init__(self) -> None:
        self.store = UnsureStore()

    @asynccontextmanager
    async def worker(
        self,
        bundles: FakeBundles,
        *,
        watch: bool = False,
        load: float = 5.0,
        switch: float = 5.0,
        retry: float = 30.0,
    ) -> AsyncIterator[LiveModels]:
        patience = Patience(load, switch, watch=0.1, retry=retry)
        models = LiveModels(bundles, self.store, next(_names), watch=watch, patience=patience)
        await models.start()
        yield models
        await models.close()

    def killed(self, models: LiveModels) -> None:
        """As by kill -9: nothing of it runs any more, and its note stays."""
        follower = models._follower
        assert follower._following is not None
        follower._following.cancel()
        if follower._loading is not None:
            follower._loading.cancel()

    @property
    def rollout(self) -> Rollout:
        found = decode_rollout(self.store.written[NOTE])
        assert found is not None
        return found


def run(scenario: Callable[[Place], Awaitable[None]]) -> None:
    asyncio.run(asyncio.wait_for(scenario(Place()), 60))  # type: ignore[arg-type]


async def until(holds: Callable[[], bool]) -> None:
    for _ in range(1000):
        if holds():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("waited in vain")


def versions(*workers: LiveModels) -> list[list[str]]:
    return [[engine.version for engine in worker.served] for worker in workers]


def test_a_reload_reaches_every_worker_and_going_back_is_the_same() -> None:
    async def scenario(place: Place) -> None:
        one, two = FakeBundles("1"), FakeBundles("1")
        async with place.worker(one) as first, place.worker(two) as second:
            assert versions(first, second) == [["1"], ["1"]]
            for bundles in (one, two):
                bundles.publish("2")
            assert (await first.reload(None)).version == "2"
            assert versions(first, second) == [["2"], ["2"]]  # when the answer comes all have switched
            assert (await second.reload("1")).version == "1"
            assert versions(first, second) == [["1"], ["1"]]
            assert place.rollout == Rollout(Serving("1"), True, ("00002", "2"))
            assert sorted(one.loads) == sorted(two.loads) == ["1", "1", "2"]
        assert not [name for name in place.store.written if name.startswith("worker:")]

    run(scenario)


def test_a_bad_bundle_changes_nothing_anywhere_and_is_one_log_line(caplog: pytest.LogCaptureFixture) -> None:
    async def scenario(place: Place) -> None:
        one, two = FakeBundles("1", "2"), FakeBundles("1", "2")
        async with place.worker(one) as first, place.worker(two) as second:
            await first.reload("1")
            note = place.store.written[NOTE]
            caplog.clear()
            one.bad = {"2"}
            with pytest.raises(ReloadRefused) as refused:
                await first.reload("2")
            assert refused.value.message == "the live model stays: 2 is damaged"  # where it lies is for the log
            assert [r.message for r in caplog.records] == [
                "models not exchanged: the live model stays: /bundles/2 is damaged"
            ]
            assert "2" not in two.loads[1:]  # no other worker has heard of it
            one.bad, two.bad = set(), {"2"}
            with pytest.raises(ReloadRefused, match=r"worker \d+ refuses: 2 is damaged"):
                await first.reload("2")
            assert "2 is to be served and cannot be: /bundles/2 is damaged" in caplog.messages
            with pytest.raises(ModelVersionNotFound):
                await first.reload("3")
            assert versions(first, second) == [["1"], ["1"]]
            assert place.store.written[NOTE] == note
            two.bad = set()
            await first.reload("2")
            assert versions(first, second) == [["2"], ["2"]]

    with caplog.at_level(logging.INFO, "service.core.live_models"):
        run(scenario)


def test_a_worker_that_does_not_load_in_time_stops_the_exchange_and_is_named() -> None:
    async def scenario(place: Place) -> None:
        one, two = FakeBundles("1"), FakeBundles("1")
        async with place.worker(one, load=0.5) as first, place.worker(two) as second:
            for bundles in (one, two):
                bundles.publish("2")
            two.gate.clear()
            with pytest.raises(ReloadRefused, match=r"not loaded in time by worker \d+"):
                await first.reload(None)
            two.gate.set()
            await asyncio.sleep(0.3)
            assert versions(first, second) == [["1"], ["1"]]
            assert place.rollout.coming is None

    run(scenario)


def test_a_worker_that_has_not_switched_is_named_and_follows() -> None:
    async def scenario(place: Place) -> None:
        async with (
            place.worker(FakeBundles("1", "2"), switch=0.4) as first,
            place.worker(FakeBundles("1", "2")) as second,
        ):
            await first.reload("1")
            ready = asyncio.create_task(first.reload("2"))
            await until(lambda: "2" in second._follower._engines)
            # It has said that it holds the model, and is then held up before it hears of the decision.
            await until(
                lambda: '"holds": ["1", "2"], "serves": "1"' in place.store.written[f"worker:{second._fleet.name}"]
            )
            place.killed(second)
            with pytest.raises(SwapUnfinished, match=second._fleet.name):
                await ready
            assert versions(first, second) == [["2"], ["1"]]
            await second._follower.start()
            assert versions(first, second) == [["2"], ["2"]]

    run(scenario)


def test_a_reload_that_is_killed_half_way_leaves_what_was_served() -> None:
    async def scenario(place: Place) -> None:
        bundles, slow = FakeBundles("1", "2"), FakeBundles("1", "2")
        async with place.worker(bundles) as first, place.worker(slow) as second:
            await first.reload("1")
            slow.gate.clear()
            reload = asyncio.create_task(first.reload("2"))
            await until(lambda: place.rollout.coming is not None)
            place.killed(first)
            place.killed(second)
            at_the_kill = place.store.written[NOTE]
            reload.cancel()
            await asyncio.sleep(0.05)
            place.store.written[NOTE] = at_the_kill  # a killed process takes nothing back
            async with place.worker(FakeBundles("1", "2")) as third:
                assert versions(third) == [["1"]]
                # Once its author is known to be dead what was coming is given up, and the next one is served.
                assert (await third.reload("2")).version == "2"
                assert place.rollout == Rollout(Serving("2"), True, ("00002", "2"))
            async with place.worker(FakeBundles("1", "2", "3")) as fourth:
                assert versions(fourth) == [["2"]]  # what the note names, not the newest

    run(scenario)


@pytest.mark.parametrize("other", ["reload", "test"])
def test_what_another_worker_decides_while_a_bundle_loads_stands(other: str) -> None:
    async def scenario(place: Place) -> None:
        one, two = FakeBundles("1", "2", "3"), FakeBundles("1", "2", "3")
        async with place.worker(one) as first, place.worker(two) as second:
            await first.reload("1")
            one.gate.clear()
            one.gated = "2"
            late = asyncio.create_task(first.reload("2"))
            await until(lambda: "2" in one.loads)
            await (second.reload("3") if other == "reload" else second.begin_test("3", 0.5))
            await first._follower.next_look()
            note, serves = place.store.written[NOTE], versions(first, second)
            one.gate.set()
            with pytest.raises(ReloadRefused, match="decided otherwise meanwhile"):
                await late
            await first._follower.next_look()
            assert place.store.written[NOTE] == note
            assert versions(first, second) == serves == ([["3"]] * 2 if other == "reload" else [["1", "3"]] * 2)

    run(scenario)


@pytest.mark.parametrize("moment", ["coming", "decided"])
def test_an_exchange_that_lost_the_store_is_taken_back_while_its_author_lives(moment: str) -> None:
    async def scenario(place: Place) -> None:
        one, two = FakeBundles("1", "2"), FakeBundles("1", "2")
        async with place.worker(one, load=1.0) as first, place.worker(two) as second:
            await first.reload("1")
            if moment == "coming":  # it is written, which nobody hears
                place.store.lose = lambda rollout: rollout.coming is not None
                with pytest.raises(StoreUnavailable):
                    await first.reload("2")
            else:  # it is written, and then can be neither decided nor taken back
                two.gate.clear()
                late = asyncio.create_task(first.reload("2"))
                await until(lambda: place.rollout.coming is not None)
                place.store.down = True
                with pytest.raises(ServiceError):
                    await late
                two.gate.set()
            assert place.rollout.coming == Serving("2")
            place.store.lose = lambda rollout: False
            place.store.down = False
            await until(lambda: place.rollout.coming is None)
            assert versions(first, second) == [["1"], ["1"]]
            assert (await second.reload("2")).version == "2"
            assert versions(first, second) == [["2"], ["2"]]

    run(scenario)


def test_a_note_that_was_read_earlier_and_comes_later_is_not_followed() -> None:
    async def scenario(place: Place) -> None:
        async with place.worker(FakeBundles("1", "2")) as models:
            await models.reload("1")
            place.killed(models)  # it looks when the test says so
            place.store.held = held = asyncio.Event()
            early = asyncio.create_task(models._follower.look())
            await asyncio.sleep(0)
            place.store.written[NOTE] = Rollout(Serving("2"), True, ("00002", "2")).encode()
            late = asyncio.create_task(models._follower.look())
            await asyncio.sleep(0.01)
            held.set()
            await asyncio.gather(early, late)
            assert models._follower.rollout == place.rollout

    run(scenario)


def test_what_is_to_be_served_is_tried_again_and_the_log_hears_of_it_once(caplog: pytest.LogCaptureFixture) -> None:
    async def scenario(place: Place) -> None:
        async with place.worker(FakeBundles("1", "2", "3")) as models:
            await models.reload("2")
        bundles = FakeBundles("1", "2", "3")
        bundles.bad = {"2"}
        async with place.worker(bundles, retry=0.1) as models:
            assert versions(models) == [["3"]]
            await until(lambda: bundles.loads.count("2") >= 3)
            bundles.bad = set()
            await until(lambda: versions(models) == [["2"]])

    run(scenario)
    assert caplog.messages == ["2 is to be served and cannot be: /bundles/2 is damaged"]


def test_an_old_engine_is_freed_after_the_exchange() -> None:
    async def scenario(place: Place) -> None:
        async with place.worker(FakeBundles("1", "2")) as models:
            await models.reload("1")
            await asyncio.sleep(0.2)
            in_flight = models.live
            old = weakref.ref(in_flight)
            await models.reload("2")
            assert in_flight.version == "1"  # whoever began with it ends with it
            gc.disable()
            try:
                del in_flight
                await asyncio.sleep(0.2)
                assert old() is None
            finally:
                gc.enable()

    run(scenario)


def test_a_version_that_is_gone_is_replaced_by_the_newest_with_a_log_line(caplog: pytest.LogCaptureFixture) -> None:
    async def scenario(place: Place) -> None:
        async with place.worker(FakeBundles("1", "2", "3")) as models:
            await models.reload("1")
        async with place.worker(FakeBundles("2", "3")) as models:
            assert versions(models) == [["3"]]
            await models.reload("2")
            assert place.rollout.serving == Serving("2")

    run(scenario)
    assert "1 is to be served and cannot be: there is no version '1'" in caplog.messages


@pytest.mark.parametrize("note", ["", "?", "[]", '{"format":99}', '{"format":1,"serving":{"live":1}}'])
def test_a_note_of_another_release_is_left_alone_until_somebody_decides(note: str) -> None:
    async def scenario(place: Place) -> None:
        place.store.written[NOTE] = note
        async with place.worker(FakeBundles("1", "2")) as models:
            assert versions(models) == [["2"]]
            assert place.store.written[NOTE] == note
            await models.reload("1")
            assert place.rollout.serving == Serving("1")

    run(scenario)


def test_without_a_store_a_worker_serves_and_follows_later(caplog: pytest.LogCaptureFixture) -> None:
    async def scenario(place: Place) -> None:
        async with place.worker(FakeBundles("1", "2")) as models:
            await models.reload("1")
        place.store.down = True
        async with place.worker(FakeBundles("1", "2"), watch=True) as models:
            assert versions(models) == [["2"]]
            await asyncio.sleep(0.5)
            place.store.down = False
            await until(lambda: versions(models) == [["1"]])

    run(scenario)
    assert {record.levelname for record in caplog.records} == {"WARNING"}  # a store that is down is no fault of ours


def test_a_note_that_was_lost_is_written_again() -> None:
    async def scenario(place: Place) -> None:
        async with place.worker(FakeBundles("1", "2")) as models:
            await models.reload("1")
            note = place.store.written[NOTE]
            place.store.written.clear()
            await until(lambda: place.store.written.get(NOTE) == note)
            assert versions(models) == [["1"]]

    run(scenario)


def test_a_start_takes_the_newest_unless_somebody_has_chosen() -> None:
    async def scenario(place: Place) -> None:
        bundles = FakeBundles("1")
        await settle(place.store, bundles, watch=False)
        bundles.publish("2")
        await settle(place.store, bundles, watch=False)
        assert place.rollout == Rollout(Serving("2"), False, ("00002", "2"))
        async with place.worker(bundles) as models:
            await models.reload("1")
        await settle(place.store, bundles, watch=True)
        assert place.rollout.serving == Serving("1")  # nothing was published since
        bundles.publish("3")
        await settle(place.store, bundles, watch=False)
        assert place.rollout.serving == Serving("1")
        await settle(place.store, bundles, watch=True)
        assert place.rollout.serving == Serving("3")
        bundles.publish("4")
        bundles.bad = {"4"}
        with pytest.raises(BundleRefused):
            await settle(place.store, bundles, watch=True)
        assert place.rollout.serving == Serving("3")

    run(scenario)


def test_a_start_says_once_that_the_newest_is_damaged(caplog: pytest.LogCaptureFixture) -> None:
    async def scenario(place: Place) -> None:
        bundles = FakeBundles("1")
        await settle(place.store, bundles, watch=False)
        bundles.bad = {"1"}
        with pytest.raises(BundleRefused):
            await settle(place.store, bundles, watch=False)
        assert bundles.loads == ["1", "1"]
        assert caplog.records == []

    run(scenario)


def test_a_watch_takes_over_what_is_published_and_does_not_undo_a_return() -> None:
    async def scenario(place: Place) -> None:
        bundles = FakeBundles("1"), FakeBundles("1")

        def publish(version: str, bad: bool = False) -> None:
            for each in bundles:
                each.bad = {version} if bad else set()
                each.publish(version)

        async with place.worker(bundles[0], watch=True) as first, place.worker(bundles[1], watch=True) as second:
            publish("2")
            await until(lambda: versions(first, second) == [["2"], ["2"]])
            await second.reload("1")
            await asyncio.sleep(0.5)
            assert versions(first, second) == [["1"], ["1"]]
            publish("3", bad=True)
            await until(lambda: any("3" in each.loads for each in bundles))
            await asyncio.sleep(0.5)
            assert sum(each.loads.count("3") for each in bundles) == 1  # it is tried once, by one worker
            publish("4")
            await until(lambda: versions(first, second) == [["4"], ["4"]])
            assert place.rollout == Rollout(Serving("4"), False, ("00004", "4"))

    run(scenario)


def test_a_test_splits_the_users_alike_in_every_worker_and_after_a_restart() -> None:
    async def scenario(place: Place) -> None:
        users = [f"user {n}" for n in range(2000)]

        def tested(models: LiveModels) -> set[str]:
            return {user for user in users if models.for_user(user).version == "2"}

        bundles = FakeBundles("1", "2", "3")
        async with place.worker(bundles) as first, place.worker(bundles) as second:
            await first.reload("1")
            assert not tested(first)
            await first.begin_test("2", 0.25)
            assert versions(first, second) == [["1", "2"]] * 2
            assert (first.share, second.share, first.live.version) == (0.25, 0.25, "1")
            quarter = tested(first)
            assert tested(second) == quarter
            assert 400 < len(quarter) < 600
            for refused in (first.reload("3"), first.begin_test("3", 0.5), first.begin_test("1", 0.5)):
                with pytest.raises(ReloadRefused):
                    await refused
            await second.begin_test("2", 0.5)
            half = tested(first)
            assert quarter < half  # who was in it stays in it
            assert tested(second) == half
        await settle(place.store, bundles, watch=True)
        async with place.worker(bundles) as third, place.worker(bundles) as fourth:
            assert tested(third) == tested(fourth) == half
            with pytest.raises(ModelVersionNotFound):
                await third.end_test("3")
            assert (await third.end_test("2")).version == "2"
            assert versions(third, fourth) == [["2"], ["2"]]
            assert third.share == 0.0
            with pytest.raises(ReloadRefused):
                await third.end_test("2")
            await third.begin_test("1", 0.5)
            assert len({user for user in users if third.for_user(user).version == "1"} ^ half) > 500  # other users
            assert (await fourth.end_test("2")).version == "2"

    run(scenario)


def test_the_split_is_what_it_was_when_this_was_written() -> None:
    """Users that were in a test yesterday are in it under a newer release, too."""
    split = Split("2", 0.5, "0123456789abcdef")
    assert [user for user in map(str, range(16)) if split.takes(user)] == [
        "0",
        "2",
        "3",
        "6",
        "8",
        "9",
        "10",
        "12",
        "13",
        "14",
    ]
    assert not any(Split("2", 1e-12, "x").takes(str(n)) for n in range(1000))
    assert Split("2", 0.5, "x").takes("\ud800") in (True, False)
