"""Tests and their processes get a controlled environment."""

from __future__ import annotations

from tests.environment import controlled, run_python

USERS = {
    "HOME": "/home/somebody",
    "NUMBA_CACHE_DIR": "/tmp/cache",
    "CUDA_VISIBLE_DEVICES": "1",
    "RECBLR_STORE": "redis://elsewhere",
    "OPENBLAS_CORETYPE": "Haswell",
    "OMP_NUM_THREADS": "7",
    "NUMBA_DISABLE_JIT": "1",
    "HTTP_PROXY": "http://proxy",
    "LC_ALL": "tr_TR",
    "COLUMNS": "20",
}


def test_only_variables_that_do_not_change_results_are_kept() -> None:
    assert controlled(USERS) == {
        "HOME": "/home/somebody",
        "NUMBA_CACHE_DIR": "/tmp/cache",
        "CUDA_VISIBLE_DEVICES": "1",
        "OMP_NUM_THREADS": "1",
        "LC_ALL": "C.UTF-8",
    }


def test_conftest_controls_the_environment_of_the_tests() -> None:
    program = "import os; import tests.conftest; print(sorted(os.environ))"
    names = run_python("-c", program, environment=USERS).stdout
    assert "'HOME'" in names
    assert not {name for name in USERS if repr(name) in names and name not in controlled(USERS)}


def test_started_python_gets_added_variables_only() -> None:
    program = "import os; print(os.environ.get('RECBLR_STORE'), os.environ['OMP_NUM_THREADS'])"
    assert run_python("-c", program).stdout.split() == ["None", "1"]
    assert run_python("-c", program, environment={"RECBLR_STORE": "x"}).stdout.split() == ["x", "1"]
