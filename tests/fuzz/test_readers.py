"""Each reader of files under a fuzzer that looks for paths through it; hypothesis does the same blindly elsewhere."""

from __future__ import annotations

import io
import json
import pickle
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import torch

from fastlearn.runtime.tensor_bytes import save_tensors

RUNS = {"json": 200_000, "card": 100_000, "tensors": 100_000, "zip": 20_000, "bundle": 20_000, "saved": 50_000,
        "manifest": 50_000, "state": 50_000, "pickle": 100_000, "onnx": 30_000}  # fmt: skip
HERE = Path(__file__).parent
FORMATS = HERE.parent / "training" / "formats"


def first_inputs(name: str) -> list[bytes]:
    """Sound files, from which the fuzzer goes on."""
    state, manifest = (
        (FORMATS / "run-2" / "state.json").read_bytes(),
        (FORMATS / "run-2" / "manifest.json").read_bytes(),
    )
    tensors = save_tensors({"a": torch.arange(6.0).reshape(2, 3), "b": torch.tensor(True)}, {"fastlearn": "{}"})
    zipped = io.BytesIO()
    with zipfile.ZipFile(zipped, "w", zipfile.ZIP_DEFLATED) as made:
        made.writestr("a", b"x" * 300)
        made.writestr("b", b"")
    return {
        "tensors": [tensors],
        "saved": [tensors, (FORMATS / "learner-1.safetensors").read_bytes()],
        "zip": [zipped.getvalue()],
        "bundle": [zipped.getvalue()],
        "manifest": [manifest],
        "state": [state, (FORMATS / "run-1" / "state.json").read_bytes(), json.dumps({"learner": {}}).encode()],
        "pickle": [pickle.dumps({"a": [1, (2.5, "x")], "b": Path}, protocol) for protocol in (0, 2, 4)],
        "onnx": [b"\x08\x08\x12\x02ab"],
    }.get(name, [state, manifest, b'{"a": [1, -2.5e3, null, true, "\\u00e9"]}'])


@pytest.mark.soak
@pytest.mark.parametrize("name", RUNS)
def test_a_reader_answers_anything_with_its_own_error(name: str, tmp_path: Path) -> None:
    pytest.importorskip("atheris", reason='the fuzzer is not installed (pip install ".[fuzz]")')
    for k, data in enumerate(first_inputs(name)):
        (tmp_path / f"{k}").write_bytes(data)
    options = [f"-atheris_runs={RUNS[name]}", "-max_len=4096", "-timeout=20", "-rss_limit_mb=3000", "-seed=1"]
    done = subprocess.run(
        [sys.executable, HERE / "readers.py", name, *options, f"-artifact_prefix={tmp_path}/", tmp_path],
        capture_output=True, text=True, cwd=tmp_path, timeout=900,
    )  # fmt: skip
    last = [line for line in done.stderr.splitlines() if line.startswith(("#", "Done"))][-1:]
    print(f"\n{name}: {''.join(last)}")
    assert done.returncode == 0, done.stderr[-3000:]
