"""Write the software bill of materials of the server, in CycloneDX 1.5.

It lists what `docker/install-server.sh` installs, as pip resolves it: versions, licences, SHA-256 of the files.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any


def main() -> int:
    """Write the file named on the command line."""
    command = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--dry-run",
        "--ignore-installed",
        "--no-build-isolation",
    ]
    command += ["--constraint", "constraints.txt", "--report", "-", "."]
    report = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
    path = Path(sys.argv[1])
    path.parent.mkdir(parents=True, exist_ok=True)
    bill = bill_of(report)
    path.write_text(json.dumps(bill, indent=2) + "\n")
    print(f"{path}: {len(bill['components'])} packages")
    return 0


def bill_of(report: dict[str, Any]) -> dict[str, Any]:
    """Convert an installation report of pip."""
    components = sorted(map(_component, report["install"]), key=lambda component: component["purl"])
    return {"bomFormat": "CycloneDX", "specVersion": "1.5", "version": 1, "components": components}


def _component(install: dict[str, Any]) -> dict[str, Any]:
    metadata = install["metadata"]
    name, version = metadata["name"].lower().replace("_", "-"), metadata["version"]
    component: dict[str, Any] = {
        "type": "library",
        "name": name,
        "version": version,
        "purl": f"pkg:pypi/{name}@{version}",
    }
    component["bom-ref"] = component["purl"]
    if digest := install["download_info"].get("archive_info", {}).get("hashes", {}).get("sha256"):
        component["hashes"] = [{"alg": "SHA-256", "content": digest}]
    if licence := metadata.get("license_expression") or metadata.get("license"):
        component["licenses"] = [{"license": {"name": licence.splitlines()[0]}}]
    return component


if __name__ == "__main__":
    sys.exit(main())
