"""The assembled application: the OpenAPI document."""

from __future__ import annotations

from service.api.middleware.request_path import TAG
from tests.api.app_harness import AppHarness

OPERATIONS = {
    "POST /v1/events",
    "POST /v1/events/batch",
    "GET /v1/users/{user_id}/recommendations",
    "POST /v1/recommendations",
    "POST /v1/users/{user_id}/rank",
    "POST /v1/users/{user_id}/recommendations",
    "GET /v1/items/{item_id}/similar",
    "GET /v1/items",
    "GET /v1/items/{item_id}",
    "PUT /v1/items/{item_id}",
    "PATCH /v1/items/{item_id}",
    "DELETE /v1/items/{item_id}",
    "POST /v1/items/batch",
    "GET /v1/attributes",
    "GET /v1/attributes/{name}",
    "PUT /v1/attributes/{name}",
    "DELETE /v1/attributes/{name}",
    "GET /v1/filters",
    "GET /v1/filters/{name}",
    "PUT /v1/filters/{name}",
    "DELETE /v1/filters/{name}",
    "GET /v1/users/{user_id}",
    "GET /v1/users/{user_id}/events",
    "GET /v1/users/{user_id}/audit",
    "POST /v1/users/{user_id}/audit",
    "POST /v1/users/{user_id}/merge",
    "DELETE /v1/users/{user_id}",
    "DELETE /v1/users/{user_id}/events/{event_id}",
    "GET /v1/model",
    "POST /v1/admin/reload",
    "GET /v1/admin/backfills",
    "GET /v1/admin/experiments",
    "POST /v1/admin/test",
    "POST /v1/admin/test/end",
    "GET /healthz",
    "GET /readyz",
    "GET /metrics",
}


def test_openapi_lists_every_operation_with_scope_and_errors(harness: AppHarness) -> None:
    schema = harness.get("/openapi.json").json()
    operations = {
        f"{method.upper()} {path}"
        for path, methods in schema["paths"].items()
        for method, operation in methods.items()
        if operation["tags"] != [TAG]
    }
    assert operations == OPERATIONS
    assert set(schema["components"]["securitySchemes"]) == {"bearer", "api_key", "user_token"}
    assert "HTTPValidationError" not in schema["components"]["schemas"]
    batch = schema["components"]["schemas"]["EventBatchIn"]["properties"]["events"]
    assert batch["items"] == {"$ref": "#/components/schemas/EventIn"}
    assert (batch["minItems"], batch["maxItems"]) == (1, 1000)
    for path, methods in schema["paths"].items():
        for operation in methods.values():
            assert {"4XX", "5XX"} <= set(operation["responses"])
            assert operation["description"]
            scope = operation["x-scope"]
            assert (scope == "none") == (path in ("/healthz", "/readyz"))
            assert (scope == "admin") == path.startswith("/v1/admin/")
            scopes = scope.split("+")
            named = [] if scope == "none" else [{"bearer": scopes}, {"api_key": scopes}]
            if "x-user-token" in operation:
                assert set(scopes) <= {"append", "read"}
                named.append({"user_token": []})
            assert operation["security"] == (named if scope in ("none", "admin") else [*named, {}])
    assert schema["paths"]["/v1/events"]["post"]["x-scope-with-query"] == {"k": "read"}
    assert schema["paths"]["/v1/users/{user_id}/merge"]["post"]["x-scope"] == "append+erase"
