"""Every operation, parameter and field of the API has a description."""

from __future__ import annotations

from tests.api.app_harness import AppHarness


def test_every_operation_has_summary_and_description(harness: AppHarness) -> None:
    for path, methods in harness.app.openapi()["paths"].items():
        for method, operation in methods.items():
            assert operation["summary"], (method, path)
            assert operation["description"].endswith("."), (method, path)


def test_every_parameter_has_description(harness: AppHarness) -> None:
    for path, methods in harness.app.openapi()["paths"].items():
        for operation in methods.values():
            for parameter in operation.get("parameters", ()):
                description = parameter.get("description") or parameter["schema"].get("description")
                assert description, (path, parameter["name"])


def test_every_field_has_description(harness: AppHarness) -> None:
    schemas = harness.app.openapi()["components"]["schemas"]
    assert schemas
    for name, schema in schemas.items():
        assert schema["description"], name
        for field, properties in schema["properties"].items():
            assert properties.get("description", "").endswith("."), (name, field)
