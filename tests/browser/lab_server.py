"""A JupyterLab of our own, on this machine alone."""

from __future__ import annotations

import json
import os
import secrets
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.error import URLError
from urllib.request import Request, urlopen

REPOSITORY = Path(__file__).parents[2]
START_S = 180  # a cold start on a machine that is busy with other things
STOP_S = 30

SETTINGS = {
    # Nothing asks the world for news, and nothing asks the reader whether it may.
    "@jupyterlab/apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False},
}


class Lab:
    """JupyterLab in a folder of its own: its settings, its notebooks, and kernels of the Python that runs the tests.

    `with Lab(folder) as lab:` returns when the server answers, and ends it in any case.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.notebooks = folder / "notebooks"
        self.settings = folder / "settings"
        self.log = folder / "jupyterlab.log"
        self.token = secrets.token_hex(16)
        self.url = ""  # http://127.0.0.1:<port>, once it runs
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.notebooks.mkdir(parents=True)
        self._write_settings()
        self._write_kernel()
        command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", "--ip=127.0.0.1"]
        command += [f"--IdentityProvider.token={self.token}", f"--ServerApp.root_dir={self.notebooks}"]
        command += ["--LabApp.expose_app_in_browser=True", f"--ServerApp.port={_free_port()}"]
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                command, stdout=log, stderr=log, cwd=self.folder, env=self._environment(), start_new_session=True
            )
        try:
            self._wait_until_it_answers()
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._end()

    def ask(self, path: str, method: str = "GET") -> Any:
        """What the server's REST interface answers, as JSON; None where it answers with nothing."""
        request = Request(f"{self.url}/api/{path}", method=method, headers={"Authorization": f"token {self.token}"})
        with urlopen(request, timeout=START_S) as answer:
            body = answer.read()
        return json.loads(body) if body else None

    def end_kernels(self) -> None:
        """End every session, so that the next notebook begins with a kernel of its own."""
        for session in self.ask("sessions"):
            self.ask(f"sessions/{session['id']}", "DELETE")

    def forget_theme(self) -> None:
        """Go back to the light theme; a page that is opened from now on has it."""
        (self.settings / "@jupyterlab/apputils-extension/themes.jupyterlab-settings").unlink(missing_ok=True)

    def log_tail(self, lines: int = 60) -> str:
        return "\n".join(self.log.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:])

    def _write_settings(self) -> None:
        for name, values in SETTINGS.items():
            file = self.settings / f"{name}.jupyterlab-settings"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(json.dumps(values), encoding="utf-8")

    def _write_kernel(self) -> None:
        """The kernel `python3` is this Python, whatever else is installed under that name."""
        argv = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
        file = self.folder / "data/kernels/python3/kernel.json"
        file.parent.mkdir(parents=True)
        kernel = {"argv": argv, "display_name": "Python 3", "language": "python"}
        file.write_text(json.dumps(kernel), encoding="utf-8")

    def _environment(self) -> dict[str, str]:
        """Nothing of the user's own Jupyter takes part; fastlearn is the one under test."""
        places = {
            "JUPYTER_CONFIG_DIR": "config",
            "JUPYTER_DATA_DIR": "data",
            "JUPYTER_RUNTIME_DIR": "runtime",
            "JUPYTERLAB_SETTINGS_DIR": "settings",
            "JUPYTERLAB_WORKSPACES_DIR": "workspaces",
            "IPYTHONDIR": "ipython",
        }
        path = os.pathsep.join([str(REPOSITORY), *filter(None, [os.environ.get("PYTHONPATH")])])
        return os.environ | {name: str(self.folder / place) for name, place in places.items()} | {"PYTHONPATH": path}

    def _wait_until_it_answers(self) -> None:
        assert self._process is not None
        # The server writes this file when it has its port, which is another one if ours was taken meanwhile.
        info = self.folder / f"runtime/jpserver-{self._process.pid}.json"
        until = time.monotonic() + START_S
        while time.monotonic() < until and self._process.poll() is None:
            try:
                self.url = f"http://127.0.0.1:{json.loads(info.read_text(encoding='utf-8'))['port']}"
                self.ask("status")
                return
            except (OSError, URLError, ValueError):  # not there yet, or half written
                time.sleep(0.1)
        raise RuntimeError(f"JupyterLab did not start within {START_S} s. The end of its log:\n{self.log_tail()}")

    def _end(self) -> None:
        """End the server, which ends its kernels."""
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
