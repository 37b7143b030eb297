"""The bill of materials follows from pip's installation report."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

BILL_OF = runpy.run_path(str(Path(__file__).parents[2] / ".ci" / "sbom.py"))["bill_of"]


def installed(name: str, digest: str | None, **metadata: str) -> dict[str, Any]:
    archive = {"hashes": {"sha256": digest}} if digest else {}
    return {"metadata": {"name": name, "version": "1.2", **metadata}, "download_info": {"archive_info": archive}}


def test_component_has_version_hash_and_licence() -> None:
    bill = BILL_OF({"install": [installed("Typing_Extensions", "ab12", license_expression="PSF-2.0")]})
    assert (bill["bomFormat"], bill["specVersion"]) == ("CycloneDX", "1.5")
    assert bill["components"] == [
        {
            "type": "library",
            "name": "typing-extensions",
            "version": "1.2",
            "purl": "pkg:pypi/typing-extensions@1.2",
            "bom-ref": "pkg:pypi/typing-extensions@1.2",
            "hashes": [{"alg": "SHA-256", "content": "ab12"}],
            "licenses": [{"license": {"name": "PSF-2.0"}}],
        }
    ]


def test_components_are_in_one_order_and_may_lack_hash_and_licence() -> None:
    names = [
        component["name"]
        for component in BILL_OF({"install": [installed("b", None), installed("a", None)]})["components"]
    ]
    assert names == ["a", "b"]
