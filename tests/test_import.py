"""What `import fastlearn` does by itself: next to nothing."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

CODE = "import fastlearn, os, sys; print(os.environ['OMP_WAIT_POLICY'], 'torch' in sys.modules)"


@pytest.mark.parametrize(("given", "then"), [(None, "PASSIVE"), ("ACTIVE", "ACTIVE")])
def test_threads_that_wait_do_not_spin_unless_the_user_says_so(given: str | None, then: str) -> None:
    env = {name: value for name, value in os.environ.items() if name != "OMP_WAIT_POLICY"}
    env |= {} if given is None else {"OMP_WAIT_POLICY": given}
    assert subprocess.check_output([sys.executable, "-c", CODE], text=True, env=env).split() == [then, "False"]
