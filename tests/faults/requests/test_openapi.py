"""Generated requests, valid and invalid, get declared answers and no 5xx."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis import Case, GenerationMode
from schemathesis.checks import CHECKS, load_all_checks

from model.bundle.bundle import write_bundle
from model.config import ModelConfig
from service.api_keys import KeyScope, digest_of
from tests.api.test_user_tokens import sign
from tests.end_to_end.service import KEY, RunningService
from tests.faults.harness.modes import report, short_or_long
from tests.model.builders import bundle_of

pytestmark = pytest.mark.faults

load_all_checks()

# The checks of schemathesis that apply to a single request. Authentication has a test of its own, and a request that
# fits the schema may still be refused: the schema cannot describe every format.
CHECKED = CHECKS.get_by_names(
    (
        "not_a_server_error",
        "status_code_conformance",
        "content_type_conformance",
        "response_headers_conformance",
        "response_schema_conformance",
    )
)
REJECTION = CHECKS.get_by_names(("negative_data_rejection",))
# No input that could be invalid.
WITHOUT_INPUT = ("/healthz", "/readyz", "/metrics", "/v1/model", "/v1/attributes", "/v1/filters")
REFUSED_AT_THE_HEAD = (414, 431)  # the target, or all headers, are too long for any route
BATCHES = ("/v1/events/batch", "/v1/items/batch")  # answer 200 with an outcome for each entry


TOKEN_KEY = "key-that-signs-user-tokens-" * 2


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    folder = tmp_path_factory.mktemp("openapi")
    write_bundle(folder / "bundle", bundle_of(ModelConfig(items=40, dim=4, expansion=1, conv_width=2, layers=1)))
    entries = (f"{scope}:sha256:{digest_of(_key(scope).encode()).hex()}" for scope in KeyScope)
    settings = {"RECBLR_API_KEYS": ",".join((KEY, *entries)), "RECBLR_USER_TOKEN_KEYS": TOKEN_KEY}
    with RunningService(folder, f"sqlite:///{folder}/log.db", folder / "bundle", **settings) as service:
        yield service


def _key(scope: str) -> str:
    return f"key-with-the-scope-{scope}"


@pytest.mark.parametrize("mode", list(GenerationMode), ids=lambda mode: mode.value)
def test_every_answer_conforms_to_the_openapi_document(service: RunningService, mode: GenerationMode) -> None:
    headers = {"X-API-Key": KEY}
    schema = schemathesis.openapi.from_url(f"{service.url}/openapi.json")
    statuses: Counter[int] = Counter()
    for found in schema.get_all_operations():
        operation = found.ok()
        if mode == GenerationMode.NEGATIVE and operation.path in WITHOUT_INPUT:
            continue

        @settings(
            max_examples=short_or_long(12, 200),
            deadline=None,
            derandomize=True,
            database=None,
            suppress_health_check=list(HealthCheck),
        )
        @given(case=operation.as_strategy(generation_mode=mode))
        def answers(case: Case) -> None:
            response = case.call(headers=headers, timeout=30)
            statuses[response.status_code] += 1
            is_refused_at_head = response.status_code in REFUSED_AT_THE_HEAD
            is_checked = case.operation.path not in BATCHES and not is_refused_at_head
            checks = CHECKED + (REJECTION if is_checked else [])
            case.validate_response(response, headers=headers, checks=checks)

        answers()
    report(
        "requests generated from the OpenAPI document",
        mode=mode.value,
        requests=statuses.total(),
        server_errors=sum(count for status, count in statuses.items() if status >= 500),
        statuses={str(status): count for status, count in sorted(statuses.items())},
    )
    assert httpx.get(f"{service.url}/readyz").status_code == 200


@pytest.mark.parametrize("scope", list(KeyScope))
def test_key_of_one_scope_gets_exactly_its_operations(service: RunningService, scope: KeyScope) -> None:
    send_generated(service, {"X-API-Key": _key(scope)}, lambda needed: needed <= {str(scope)})


def test_user_token_gets_its_users_operations_only(service: RunningService) -> None:
    claims = {"aud": "recblr", "sub": "somebody", "exp": time.time() + 600}
    headers = {"Authorization": f"Bearer {sign(claims, TOKEN_KEY)}"}
    send_generated(service, headers, lambda needed: not needed)  # no generated user is that one


def send_generated(service: RunningService, headers: dict[str, str], is_allowed: Callable[[set[str]], bool]) -> None:
    """Send valid requests to every operation, and check the answers."""
    schema = schemathesis.openapi.from_url(f"{service.url}/openapi.json")
    for found in schema.get_all_operations():
        operation = found.ok()

        @settings(
            max_examples=short_or_long(5, 60),
            deadline=None,
            derandomize=True,
            database=None,
            suppress_health_check=list(HealthCheck),
        )
        @given(case=operation.as_strategy(generation_mode=GenerationMode.POSITIVE))
        def answers(case: Case) -> None:
            raw = case.operation.definition.raw
            needed = set(raw["x-scope"].split("+")) - {"none"}
            needed |= {further for name, further in raw.get("x-scope-with-query", {}).items() if name in case.query}
            response = case.call(headers=headers, timeout=30)
            if is_allowed(needed):
                assert response.status_code != 403, case.operation.label
            else:  # the user of an event is in its body, which is validated first
                assert response.status_code in (403, 422 if case.operation.path == "/v1/events" else 403)
            case.validate_response(response, headers=headers, checks=CHECKED)

        answers()
