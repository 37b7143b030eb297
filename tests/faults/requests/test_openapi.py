"""Generated requests, valid and invalid, get declared answers and no 5xx."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis import Case, GenerationMode
from schemathesis.checks import CHECKS, load_all_checks

from model.bundle.bundle import write_bundle
from model.config import ModelConfig
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
BATCHES = ("/v1/events/batch", "/v1/items/batch")  # answer 200 with an outcome for each entry


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    folder = tmp_path_factory.mktemp("openapi")
    write_bundle(folder / "bundle", bundle_of(ModelConfig(items=40, dim=4, expansion=1, conv_width=2, layers=1)))
    with RunningService(folder, f"sqlite:///{folder}/log.db", folder / "bundle") as service:
        yield service


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
            checks = CHECKED + (REJECTION if case.operation.path not in BATCHES else [])
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
