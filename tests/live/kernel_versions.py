"""Runs test_shell.py and test_line.py on other ipykernels: python tests/live/kernel_versions.py [version ...]

`fastlearn.live.shell` and `line` read the insides of a kernel, which change between versions. This is for whoever
raises the range of versions or hears of a click that did not arrive. Each version is installed into a temporary folder
that shadows the installed one; nothing else changes.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

VERSIONS = ["6.29.5", "6.30.1", "6.31.0", "7.0.1", "7.1.0", "7.4.0"]
TESTS = [Path(__file__).with_name(name) for name in ("test_shell.py", "test_line.py")]


def passes(version: str) -> bool:
    with tempfile.TemporaryDirectory() as folder:
        pip = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", folder, f"ipykernel=={version}"]
        subprocess.run(pip, check=True)
        path = os.pathsep.join([folder, *filter(None, [os.environ.get("PYTHONPATH")])])
        print(f"ipykernel {version}:", flush=True)
        pytest = [sys.executable, "-m", "pytest", *TESTS]
        return subprocess.run(pytest, env=os.environ | {"PYTHONPATH": path}).returncode == 0


def main() -> int:
    failed = [version for version in sys.argv[1:] or VERSIONS if not passes(version)]
    print("failed: " + ", ".join(failed) if failed else "all passed")
    return len(failed)


if __name__ == "__main__":
    sys.exit(main())
