"""Description of the machine."""

from __future__ import annotations

import os

from loadtests.environment.machine_info import machine_info


def test_machine_info_names_cores_processor_and_versions() -> None:
    info = machine_info()
    assert info["cores"] == len(os.sched_getaffinity(0))
    assert info["cpu"]
    assert info["redis"].startswith("Redis server v=")
    assert len(info["load_average_at_end"]) == 3
