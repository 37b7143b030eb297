"""The command `recblr-serve`: its options, and refusals in one sentence."""

from __future__ import annotations

import hashlib
import socket
import subprocess
from pathlib import Path

import pytest

from service.__main__ import check_openness, check_port
from service.api_keys import KeyScope, parse_key
from service.settings import Settings
from service.settings_reference import settings_help
from service.start.preflight import StartupError
from tests.environment import run_python
from tests.servers import free_port


def serve(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return run_python("-m", "service", *arguments, timeout_seconds=120, environment=environment)


def test_wrong_setting_exits_with_code_2_and_one_line() -> None:
    done = serve(RECBLR_PORT="no")
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("recblr-serve: RECBLR_PORT must be a whole number from 1 to 65535")


def test_new_key_prints_key_and_matching_entry() -> None:
    done = serve("--new-key", "read+append")
    assert (done.returncode, done.stderr) == (0, "")
    key, entry = (line.split()[-1] for line in done.stdout.splitlines())
    assert len(key) == 43
    assert entry == f"append+read:sha256:{hashlib.sha256(key.encode()).hexdigest()}"
    assert parse_key(entry).scopes == {KeyScope.READ, KeyScope.APPEND}
    assert serve("--new-key", "read").stdout != serve("--new-key", "read").stdout


def test_new_key_with_unknown_scope_exits_with_code_2() -> None:
    for scopes, named in (("everything", "append+read"), ("read+write", "append+erase")):
        wrong = serve("--new-key", scopes)
        assert (wrong.returncode, wrong.stdout, wrong.stderr.count("\n")) == (2, "", 1)
        assert named in wrong.stderr


def test_help_names_every_setting_without_utf8_locale() -> None:
    done = serve("--help", LC_ALL="C", PYTHONUTF8="0", PYTHONCOERCECLOCALE="0", PYTHONIOENCODING="ascii")
    assert done.returncode == 0, done.stderr
    for name in Settings.model_fields:
        assert f"RECBLR_{name.upper()}\n" in done.stdout
    assert settings_help() in done.stdout
    assert "needs the extra gpu" in done.stdout
    assert "--precompile" in done.stdout


def test_precompile_without_bundle_exits_with_code_2() -> None:
    done = serve("--precompile", RECBLR_BUNDLE="/nowhere")
    assert done.returncode == 2
    assert done.stderr.startswith("recblr-serve: RECBLR_BUNDLE: ")


def test_start_without_bundle_leaves_no_event_log(tmp_path: Path) -> None:
    done = serve(
        RECBLR_BUNDLE="/nowhere", RECBLR_STATE_URL=f"sqlite:///{tmp_path}/new.db", RECBLR_PORT=str(free_port())
    )
    assert done.returncode == 2
    assert done.stderr.startswith("recblr-serve: RECBLR_BUNDLE: ")
    assert list(tmp_path.iterdir()) == []


def test_port_in_use_is_refused() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(StartupError, match="RECBLR_PORT"):
            check_port("127.0.0.1", taken.getsockname()[1])


def test_unknown_host_is_refused() -> None:
    with pytest.raises(StartupError, match="RECBLR_HOST"):
        check_port("no such host", 8000)


def test_free_port_is_accepted() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    check_port("127.0.0.1", port)


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
def test_all_addresses_without_keys_are_refused(host: str) -> None:
    result = serve(RECBLR_HOST=host)
    assert result.returncode == 2
    assert "RECBLR_API_KEYS" in result.stderr
    assert "RECBLR_OPEN_TO_NETWORK=true" in result.stderr
    assert "Traceback" not in result.stderr


def test_all_addresses_are_accepted_with_keys_or_by_name() -> None:
    check_openness(Settings(host="127.0.0.1"))
    check_openness(Settings(host="0.0.0.0", open_to_network=True))
    check_openness(Settings(host="0.0.0.0", api_keys=(parse_key("a-key-of-enough-length"),)))
