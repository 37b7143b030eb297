"""Refuse secrets in the repository and pinned packages with known vulnerabilities.

The vulnerability database is on the internet. If it does not answer, or knows none of the packages, the audit fails,
because nothing was audited; AUDIT_OFFLINE=1 lets it pass where there is no such database. Run it in the repository's
root, in the environment with the development tools.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

BASELINE = ".secrets.baseline"
PINS = "constraints.txt"
TIMEOUT_SECONDS = 120
TOOLS = Path(sys.executable).parent


def main() -> int:
    """Run both checks; return the exit code."""
    return max(scan_for_secrets(), audit_packages())


def scan_for_secrets() -> int:
    """Scan tracked files; the baseline lists what only looks like a secret."""
    files = subprocess.run(["git", "ls-files", "-z"], capture_output=True, check=True).stdout.decode().split("\0")
    tracked = [name for name in files if name and Path(name).is_file()]
    command = [TOOLS / "detect-secrets-hook", "--baseline", BASELINE, *tracked]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    if found.returncode == 0:
        print(f"secrets: none in {len(tracked)} files")
        return 0
    print(found.stdout, found.stderr, file=sys.stderr)
    print(
        f"secrets: see above. If one is real, replace it everywhere it was valid. If it only looks like one, run\n"
        f"    {TOOLS / 'detect-secrets'} scan --baseline {BASELINE}\n"
        f"and commit {BASELINE}.",
        file=sys.stderr,
    )
    return 1


def audit_packages() -> int:
    """Look up every pinned package."""
    command = [TOOLS / "pip-audit", "--requirement", PINS, "--no-deps", "--disable-pip", "--format", "json"]
    command += ["--progress-spinner", "off", "--timeout", "10"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=TIMEOUT_SECONDS)
        packages: list[dict[str, Any]] = json.loads(done.stdout)["dependencies"]
    except (subprocess.TimeoutExpired, ValueError, KeyError):
        return not_audited("the vulnerability database cannot be reached")
    return report(packages)


def report(packages: list[dict[str, Any]]) -> int:
    """Print pip-audit's findings; return 1 if a package is vulnerable."""
    audited = [package for package in packages if "vulns" in package]
    vulnerable = [package for package in audited if package["vulns"]]
    for package in vulnerable:
        names = ", ".join(finding["id"] for finding in package["vulns"])
        print(f"packages: {package['name']} {package['version']}: {names}", file=sys.stderr)
    unknown = len(packages) - len(audited)
    if audited:
        print(f"packages: {len(vulnerable)} of {len(audited)} pins vulnerable, {unknown} unknown to the database")
    else:
        return not_audited(f"the reachable database knows none of the {unknown} pins")
    return 1 if vulnerable else 0


def not_audited(reason: str) -> int:
    """Say loudly that nothing was audited; return the exit code."""
    offline = os.environ.get("AUDIT_OFFLINE") == "1"
    advice = "passing because of AUDIT_OFFLINE=1" if offline else "set AUDIT_OFFLINE=1 to pass without it"
    print(f"packages: NOT AUDITED: {reason}; {advice}", file=sys.stderr)
    return 0 if offline else 1


if __name__ == "__main__":
    sys.exit(main())
