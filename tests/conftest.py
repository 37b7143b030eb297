"""Control the environment before any test module imports numpy, torch or the service."""

from __future__ import annotations

import os

from tests.environment import controlled

_wanted = controlled(os.environ)
for _name in set(os.environ) - set(_wanted):
    del os.environ[_name]
os.environ.update(_wanted)
