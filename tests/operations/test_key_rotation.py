"""Rotation of the keys of bundles and of Redis, by docs/operations/key-rotation.md."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest
import redis

from model.bundle.bundle import BundleError, load_bundle, write_bundle
from model.config import ModelConfig
from tests.deployments import wait_for
from tests.docs.pages import ROOT, replaced, run_commands, text_under
from tests.end_to_end.event_writer import USERS, EventWriter
from tests.end_to_end.service import RunningService
from tests.model.builders import bundle_of
from tests.servers import RedisServer

PAGE = ROOT / "docs" / "operations" / "key-rotation.md"
BUNDLE = ROOT / "bundles" / "ml-1m-demo"
OLD, NEW, OTHER = "o" * 32, "n" * 32, "x" * 32


def test_registry_is_signed_again_save_what_was_not_valid(tmp_path: Path) -> None:
    bundles = tmp_path / "bundles"
    for name, key in (("good", OLD), ("strange", OTHER), ("unsigned", None)):
        bundle = bundle_of(ModelConfig(items=6, dim=4, layers=1), version=name)
        write_bundle(bundles / name, bundle, key and key.encode())
    (tmp_path / ".venv").symlink_to(ROOT / ".venv")
    commands = text_under(PAGE, "Key of the bundles' signatures")
    printed = run_commands(commands, tmp_path, OLD=OLD, NEW=NEW, PYTHONPATH=str(ROOT))
    assert printed == "signed bundles/good\n"
    assert load_bundle(bundles / "good", NEW.encode()).version == "good"
    with pytest.raises(BundleError, match="not signed"):
        load_bundle(bundles / "good", OLD.encode())
    for name in ("strange", "unsigned"):
        with pytest.raises(BundleError, match="not signed"):
            load_bundle(bundles / name, NEW.encode())
    assert sorted(path.name for path in (bundles / "good").iterdir() if "sig" in path.name) == ["manifest.sig"]


def test_password_of_redis_changes_while_events_arrive(tmp_path: Path) -> None:
    folders = [tmp_path / name for name in ("old", "new")]
    for folder in folders:
        folder.mkdir()
    [adds, _, removes] = text_under(PAGE, "Redis' password").splitlines()
    with RedisServer() as server, closing(redis.Redis(port=server.port)) as client:
        client.execute_command("ACL", "SETUSER", "recblr", "on", f">{OLD}", "~*", "&*", "+@all")
        address = f"127.0.0.1:{server.port}/0"
        before, after = (
            RunningService(folder, f"redis://recblr:{password}@{address}", BUNDLE)
            for folder, password in zip(folders, (OLD, NEW), strict=True)
        )
        with before:
            writer = EventWriter(before.url, after.url)
            writer.start()
            run_commands(replaced(adds, {"6379": server.port, "NEW": NEW}), tmp_path)
            with after:
                await_events(writer)
                before.stop()
                run_commands(replaced(removes, {"6379": server.port, "OLD": OLD}), tmp_path)
                client.client_kill_filter(_type="normal")  # whoever has the old password is out now
                await_events(writer)
                writer.stop()
                for user, events in writer.acknowledged.items():
                    assert after.event_ids(user) == events
                with pytest.raises(redis.AuthenticationError):
                    redis.Redis.from_url(f"redis://recblr:{OLD}@{address}").ping()


def await_events(writer: EventWriter) -> None:
    goal = writer.number + 3 * USERS
    wait_for("events", lambda: writer.number > goal)
