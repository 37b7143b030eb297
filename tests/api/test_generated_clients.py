"""OpenAPI document, as generators of clients need it."""

from __future__ import annotations

import re
from typing import Any

from fastapi.routing import APIRoute

from tests.api.app_harness import AppHarness

# Generated clients name their functions after these, so a change breaks the code of users.
OPERATION_IDS = {
    "record_event": "POST /v1/events",
    "record_events": "POST /v1/events/batch",
    "recommend_for_user": "GET /v1/users/{user_id}/recommendations",
    "recommend_for_history": "POST /v1/recommendations",
    "rank_for_user": "POST /v1/users/{user_id}/rank",
    "question_for_user": "POST /v1/users/{user_id}/recommendations",
    "list_similar_items": "GET /v1/items/{item_id}/similar",
    "list_items": "GET /v1/items",
    "read_item": "GET /v1/items/{item_id}",
    "put_item": "PUT /v1/items/{item_id}",
    "patch_item": "PATCH /v1/items/{item_id}",
    "delete_item": "DELETE /v1/items/{item_id}",
    "change_items": "POST /v1/items/batch",
    "list_attributes": "GET /v1/attributes",
    "read_attribute": "GET /v1/attributes/{name}",
    "declare_attribute": "PUT /v1/attributes/{name}",
    "delete_attribute": "DELETE /v1/attributes/{name}",
    "list_filters": "GET /v1/filters",
    "read_filter": "GET /v1/filters/{name}",
    "put_filter": "PUT /v1/filters/{name}",
    "delete_filter": "DELETE /v1/filters/{name}",
    "read_user": "GET /v1/users/{user_id}",
    "list_events": "GET /v1/users/{user_id}/events",
    "audit_user": "GET /v1/users/{user_id}/audit",
    "audit_answer": "POST /v1/users/{user_id}/audit",
    "merge_user": "POST /v1/users/{user_id}/merge",
    "delete_user": "DELETE /v1/users/{user_id}",
    "delete_event": "DELETE /v1/users/{user_id}/events/{event_id}",
    "read_model": "GET /v1/model",
    "reload_model": "POST /v1/admin/reload",
    "list_model_backfills": "GET /v1/admin/backfills",
    "list_experiments": "GET /v1/admin/experiments",
    "begin_ab_test": "POST /v1/admin/test",
    "end_ab_test": "POST /v1/admin/test/end",
    "check_liveness": "GET /healthz",
    "check_readiness": "GET /readyz",
    "read_metrics": "GET /metrics",
}


def operations(harness: AppHarness) -> dict[str, dict[str, Any]]:
    """Return the operations by method and path."""
    paths = harness.app.openapi()["paths"]
    return {
        f"{method.upper()} {path}": operation
        for path, methods in paths.items()
        for method, operation in methods.items()
    }


def test_operation_ids_are_unique_stable_names_with_one_tag(harness: AppHarness) -> None:
    found = operations(harness)
    ids = {operation["operationId"]: name for name, operation in found.items()}
    assert len(ids) == len(found)
    first = {name: path for name, path in ids.items() if not name.endswith("_by_query")}
    assert {name: first.get(name) for name in OPERATION_IDS} == OPERATION_IDS
    for name, operation in found.items():
        assert re.fullmatch(r"[a-z]+(_[a-z]+)+", operation["operationId"]), name
        assert len(operation["tags"]) == 1, name


def test_every_answer_has_a_type(harness: AppHarness) -> None:
    schemas = harness.app.openapi()["components"]["schemas"]
    for name, operation in operations(harness).items():
        [(media_type, content)] = operation["responses"]["200"]["content"].items()
        if media_type == "application/json":
            declared = schemas[content["schema"]["$ref"].rpartition("/")[2]]
            assert declared["properties"], name
            assert declared["required"], name
        else:
            assert (name, content) == ("GET /metrics", {"schema": {"type": "string"}})
        for status in ("4XX", "422", "5XX"):
            error = operation["responses"][status]["content"]["application/json"]["schema"]
            assert error == {"$ref": "#/components/schemas/ErrorOut"}, (name, status)


def test_every_route_is_in_the_document_or_serves_a_page(harness: AppHarness) -> None:
    hidden = {
        route.path
        for included in harness.app.routes
        for route in included.original_router.routes
        if isinstance(route, APIRoute) and not route.include_in_schema
    }
    assert hidden == {"/", "/docs", "/docs/{name}", "/openapi.json"}
