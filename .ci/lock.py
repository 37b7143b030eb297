"""Write the lock files of the images.

They name every package with its version and the SHA-256 of its files.

Versions are those of constraints.txt. A lock covers Linux on x86_64 and aarch64, and every Python that the project
supports. torch has a lock of its own, because an image may have another build of it than the default index offers.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "docker"
UV = Path(sys.executable).parent / "uv"
# torch, and what its default build for Linux brings along.
OF_TORCH = re.compile(r"(torch|triton|nvidia-.*|cuda-.*)==")
HEADER = "# Written by `make lock` from pyproject.toml and constraints.txt.\n"


def main() -> int:
    """Write each lock."""
    server = "-e .\nsetuptools\n"  # setuptools builds the project itself, without a network
    trainer = entries("-e .[train]\nsetuptools\n")
    locks = {
        "server.lock": entries(server),
        "trainer.lock": [entry for entry in trainer if not OF_TORCH.match(entry)],
        "torch.lock": [entry for entry in trainer if OF_TORCH.match(entry)],
    }
    for name, found in locks.items():
        (FOLDER / name).write_text(HEADER + "".join(found))
        print(f"docker/{name}: {len(found)} packages")
    return 0


def entries(requirements: str) -> list[str]:
    """Resolve requirements; return an entry for each package."""
    command = [UV, "pip", "compile", "--generate-hashes", "--universal", "--python-version", "3.11", "--quiet"]
    command += ["--no-config", "--no-header", "--no-annotate", "--constraint", "constraints.txt", "-"]
    done = subprocess.run(command, cwd=ROOT, input=requirements, stdout=subprocess.PIPE, text=True, check=True)
    found = re.findall(r"^[^\s#-].*?(?=^[^\s]|\Z)", done.stdout, re.MULTILINE | re.DOTALL)
    return [entry for entry in found if not entry.startswith(("-e", "file:", "recblr-service"))]


if __name__ == "__main__":
    sys.exit(main())
