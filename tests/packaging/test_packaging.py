"""Packages, images, compose file and the Makefile's help."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from service.api_keys import KeyScope, digest_of, parse_key
from service.settings import PREFIX, Settings
from tests.deployments import wait_for
from tests.environment import controlled
from tests.servers import free_port

ROOT = Path(__file__).parents[2]
DOCKERFILES = sorted((ROOT / "docker").glob("*.Dockerfile"))
BUILD = (
    "import sys; from setuptools import build_meta as b; out = sys.argv[1]; b.build_wheel(out); b.build_sdist(out)"
)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with the wheel and the sdist.

    They are built from a copy, because setuptools leaves files in the source folder.
    """
    folder = tmp_path_factory.mktemp("build")
    source, out = folder / "source", folder / "out"
    for package in ("service", "model", "ingest"):
        shutil.copytree(ROOT / package, source / package, ignore=shutil.ignore_patterns("__pycache__"))
    for path in ROOT.iterdir():
        if path.name in {"pyproject.toml", "README.md", "LICENSE", "NOTICE"}:
            shutil.copy(path, source)
    command = [sys.executable, "-c", BUILD, out]
    run = subprocess.run(command, cwd=source, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    return out


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    return document


def package_files() -> set[str]:
    """Return the paths of all files in the packages, data included."""
    return {
        str(path.relative_to(ROOT))
        for package in ("service", "model", "ingest")
        for path in (ROOT / package).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


def test_wheel_contains_every_package_file_and_license(built: Path) -> None:
    names = set(zipfile.ZipFile(next(built.glob("*.whl"))).namelist())
    assert any(name.endswith(".lua") for name in names)
    assert {"service/py.typed", "model/py.typed"} <= names
    assert package_files() <= names
    assert {name.rpartition("/")[2] for name in names if "/licenses/" in name} == {"LICENSE", "NOTICE"}


def test_wheel_stays_small(built: Path) -> None:
    assert next(built.glob("*.whl")).stat().st_size < 1_000_000


def test_demo_of_the_wheel_answers_outside_the_clone(built: Path, tmp_path: Path) -> None:
    installed = tmp_path / "installed"
    zipfile.ZipFile(next(built.glob("*.whl"))).extractall(installed)
    keep_machine_code(installed)
    (tmp_path / "empty").mkdir()
    port = free_port()
    environment = controlled(os.environ) | {"PYTHONPATH": str(installed), "RECBLR_PORT": str(port)}
    command = [sys.executable, "-c", "import sys; from service.__main__ import main; sys.exit(main())", "--demo"]
    log = tmp_path / "log"
    with log.open("wb") as file:
        service = subprocess.Popen(command, cwd=tmp_path / "empty", env=environment, stderr=file)
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30.0) as client:
            wait_for("the demo", lambda: service.poll() is not None or answers(client, "/readyz"), 300.0)
            assert service.poll() is None, log.read_text()
            event = {"user_id": "ann", "item_id": "camping-1"}
            [best, *_] = client.post("/v1/events?k=3", json=event).json()["recommendations"]["items"]
            assert (best["item_id"], best["title"]) == ("camping-2", "Sleeping bag")
    finally:
        service.terminate()
        code = service.wait(timeout=60)
    assert code == 0, log.read_text()
    assert list((tmp_path / "empty").iterdir()) == []  # the events were kept in a temporary folder


def keep_machine_code(installed: Path) -> None:
    """Copy the machine code that other tests have compiled.

    Machine code is used if the sources have the times that they had when it was compiled.
    """
    for code in (path for package in ("service", "model") for path in (ROOT / package).rglob("__pycache__/*.nb[ic]")):
        target = installed / code.relative_to(ROOT)
        target.parent.mkdir(exist_ok=True)
        shutil.copy2(code, target)
    for source in (path for package in ("service", "model") for path in (ROOT / package).rglob("*.py")):
        shutil.copystat(source, installed / source.relative_to(ROOT))


def answers(client: httpx.Client, path: str) -> bool:
    try:
        return client.get(path).status_code == 200
    except httpx.TransportError:
        return False


def test_sdist_contains_every_package_file_and_license(built: Path) -> None:
    with tarfile.open(next(built.glob("*.tar.gz"))) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert package_files() | {"LICENSE", "NOTICE", "pyproject.toml"} <= names


def test_redis_of_compose_persists_every_write(compose: dict[str, Any]) -> None:
    redis = compose["services"]["redis"]
    command = redis["command"]
    options = dict(zip(command[1::2], command[2::2], strict=True))
    assert options["--appendonly"] == "yes"
    assert options["--appendfsync"] == "always"
    assert options["--maxmemory-policy"] == "noeviction"
    assert "redis:/data" in redis["volumes"]
    assert compose["services"]["server"]["depends_on"]["redis"]["condition"] == "service_healthy"


def test_redis_of_compose_needs_the_password_that_server_and_healthcheck_have(compose: dict[str, Any]) -> None:
    services = compose["services"]
    password = "${REDIS_PASSWORD:?run docker/new-env.sh first}"
    command = services["redis"]["command"]
    assert command[command.index("--requirepass") + 1] == password
    assert services["redis"]["environment"]["REDISCLI_AUTH"] == password
    assert services["server"]["environment"]["RECBLR_STATE_URL"] == f"redis://:{password}@redis:6379/0"


def test_compose_passes_keys_and_limits_every_service(compose: dict[str, Any]) -> None:
    for name, service in compose["services"].items():
        assert service["mem_limit"], name
        assert service["pids_limit"] <= 512, name
    for name in ("server", "trainer"):
        assert compose["services"][name]["environment"]["RECBLR_BUNDLE_KEY"] == "${RECBLR_BUNDLE_KEY:-}"
    assert "/.env\n" in (ROOT / ".gitignore").read_text()


def test_new_env_makes_keys_once_and_stores_their_hashes_only(tmp_path: Path) -> None:
    command = ["sh", str(ROOT / "docker" / "new-env.sh"), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    shop, operator = (line.split()[-1] for line in done.stdout.splitlines()[1:])
    file = tmp_path / ".env"
    variables = dict(line.split("=", 1) for line in file.read_text().splitlines())
    keys = [parse_key(entry) for entry in variables["RECBLR_API_KEYS"].split(",")]
    assert [key.name for key in keys] == ["shop", "operator"]
    assert [key.digest for key in keys] == [digest_of(shop.encode()), digest_of(operator.encode())]
    assert keys[0].scopes == {KeyScope.APPEND, KeyScope.READ}
    assert KeyScope.ADMIN in keys[1].scopes
    assert len(variables["REDIS_PASSWORD"]) == 64
    assert file.stat().st_mode & 0o077 == 0
    before = file.read_text()
    assert shop not in before
    again = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (again.returncode, again.stdout, file.read_text()) == (1, "", before)


def test_every_service_of_compose_is_hardened(compose: dict[str, Any]) -> None:
    for name, service in compose["services"].items():
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        for port in service.get("ports", []):
            assert port.startswith("127.0.0.1:"), name
    assert compose["services"]["redis"]["user"] == "redis"
    assert compose["services"]["server"]["read_only"]
    assert "bundles:/bundles:ro" in compose["services"]["server"]["volumes"]


def test_trainer_of_compose_is_optional(compose: dict[str, Any]) -> None:
    profiles = {name: service.get("profiles", []) for name, service in compose["services"].items()}
    assert profiles == {"server": [], "redis": [], "trainer": ["train"], "retrain": ["retrain"]}


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.name)
def test_every_image_runs_as_same_numbered_user(path: Path) -> None:
    text = path.read_text()
    assert "--uid 10001 " in text
    last_stage = text[text.rindex("\nFROM ") :]
    assert re.findall(r"^USER (\S+)", last_stage, re.M) == ["10001:10001"]


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.name)
def test_every_copied_file_is_in_build_context(path: Path) -> None:
    context = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    copies = re.findall(r"^COPY (?!--from)(?:--chown=\S+ )?(.+) \S+$", path.read_text(), re.M)
    sources = {source for copy in copies for source in copy.split()}
    assert sources <= context
    assert [source for source in sorted(sources) if not (ROOT / source).exists()] == []


@pytest.mark.parametrize("image", ["server", "trainer"])
def test_image_and_ci_run_the_same_install_script(image: str) -> None:
    script = f"docker/install-{image}.sh"
    assert re.search(rf"^RUN .*\bsh {script}$", (ROOT / "docker" / f"{image}.Dockerfile").read_text(), re.M)
    assert "sh docker/install-$image.sh" in (ROOT / ".ci" / "run").read_text()
    subprocess.run(["sh", "-n", ROOT / script], check=True)


@pytest.mark.parametrize("name", ["docker/server.Dockerfile", "docker/trainer.Dockerfile", "docker-compose.yml"])
def test_every_setting_in_docker_files_exists(name: str) -> None:
    known = {PREFIX + field.upper() for field in Settings.model_fields}
    assert set(re.findall(rf"\b{PREFIX}[A-Z_]+", (ROOT / name).read_text())) <= known


def test_make_help_lists_every_target() -> None:
    phony = re.search(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(), re.M)
    assert phony is not None
    listed = subprocess.run(["make", "--no-print-directory"], cwd=ROOT, capture_output=True, text=True, check=True)
    assert re.findall(r"^  make (\S+)\t", listed.stdout, re.M) == phony[1].split()
