"""Weights from files, and files that hold none."""

from __future__ import annotations

import json
import pickle
import random
import re
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
import torchvision
from safetensors.torch import save_file
from torch import nn

from fastlearn.arch import models, weights_file
from fastlearn.arch.spec import create_vision_model
from fastlearn.arch.weights_file import read_state_dict
from fastlearn.errors import WeightsError

SMALL = "mobilenetv3_small_050"


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize("arch", [models.squeezenet1_1, SMALL])
def test_weights_from_a_file(no_network: Path, tmp_path: Path, arch: Any, suffix: str) -> None:
    network = timm.create_model(SMALL) if arch == SMALL else torchvision.models.squeezenet1_1()
    path = tmp_path / f"mine{suffix}"
    (save_file if suffix == ".safetensors" else torch.save)(network.state_dict(), path)
    for given in (path, str(path)):
        model = create_vision_model(arch, 3, weights=given)
        first = next(network.parameters())
        assert torch.equal(next(model.parameters()), first)


def test_weights_from_a_file_for_ones_own_network(tmp_path: Path) -> None:
    def net() -> nn.Module:
        return nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2))

    made = net()
    torch.save({"state_dict": made.state_dict()}, tmp_path / "net.pth")
    assert torch.equal(create_vision_model(net, 3, weights=tmp_path / "net.pth").body[0].weight, made[0].weight)  # type: ignore[index]
    torch.save({"state_dict": {"a": torch.zeros(1)}}, tmp_path / "other.pth")
    with pytest.raises(WeightsError, match=r"do not fit net: Missing key.*0.weight"):
        create_vision_model(net, 3, weights=tmp_path / "other.pth")
    with pytest.raises(WeightsError, match=r"do not fit mobilenetv3.* are missing, such as conv_stem.weight"):
        create_vision_model(SMALL, 3, weights=tmp_path / "other.pth")


class Evil:
    """What makes the file `ran` when it is unpickled."""

    def __init__(self, folder: Path) -> None:
        self.ran = folder / "ran"

    def __reduce__(self) -> Any:
        return (Path.touch, (self.ran,))


def refused(path: Path, why: str) -> None:
    with pytest.raises(WeightsError, match=f"^Cannot read the weights in {re.escape(str(path))}: .*{why}"):
        read_state_dict(path)
    assert not (path.parent / "ran").exists()


def test_files_that_hold_no_weights(tmp_path: Path) -> None:
    torch.save(Evil(tmp_path), tmp_path / "evil.pth")
    torch.save([1, 2], tmp_path / "list.pth")
    torch.save({1: torch.zeros(1)}, tmp_path / "numbers.pth")
    (tmp_path / "cut.safetensors").write_bytes(b"12")
    for name, message in (
        ("evil.pth", "Cannot read the weights"),
        ("list.pth", "holds no state dict"),
        ("numbers.pth", "holds no state dict"),
        ("cut.safetensors", "Cannot read the weights in .*: the file is damaged: it ends after 2 bytes"),
        ("none.pth", "No weights file at"),
        ("x" * 1000, "No weights file at"),
        (".", "No weights file at"),
    ):
        with pytest.raises(WeightsError, match=message):
            read_state_dict(tmp_path / name)
    assert not (tmp_path / "ran").exists()


def export(value: Any, path: Path) -> None:
    torch.save(value, path)


def before_zip(value: Any, path: Path) -> None:
    torch.save(value, path, _use_new_zipfile_serialization=False)


def bare(protocol: int) -> Callable[[Any, Path], None]:
    return lambda value, path: path.write_bytes(pickle.dumps(value, protocol)) and None


WRITERS = [export, before_zip, *(bare(protocol) for protocol in range(6))]


@pytest.mark.parametrize(
    "name", ["export.pkl", "a.pth", "a.pt", "a.bin", "a.safetensors", "weights", "a.pickle", "a.ckpt"]
)
@pytest.mark.parametrize("write", WRITERS)
def test_a_pickle_is_never_run(tmp_path: Path, write: Callable[[Any, Path], None], name: str) -> None:
    for value in (Evil(tmp_path), {"a": torch.zeros(1), "b": Evil(tmp_path)}, [{"model": Evil(tmp_path)}]):
        write(value, tmp_path / name)
        refused(tmp_path / name, "")


@pytest.mark.parametrize("write", [export, before_zip, bare(2), bare(4)])
def test_a_whole_model_is_told_from_weights(tmp_path: Path, write: Callable[[Any, Path], None]) -> None:
    write(nn.Linear(1, 1), tmp_path / "export.pkl")
    way_out = r'torch\.save\(learn\.model\.state_dict\(\), "weights\.pth"\) there, and pass weights="weights\.pth" here'
    refused(tmp_path / "export.pkl", f"not only weights but a program .*export.pkl of fast.ai.*{way_out}")
    write(Evil(tmp_path), tmp_path / "a.pth")
    refused(tmp_path / "a.pth", "it would run .*getattr|made by pickle and not by torch.save")


def test_no_error_tells_how_to_run_it(tmp_path: Path) -> None:
    for k, write in enumerate(WRITERS):
        write(Evil(tmp_path), tmp_path / f"{k}.pth")
        with pytest.raises(WeightsError) as caught:
            read_state_dict(tmp_path / f"{k}.pth")
        assert "weights_only" not in str(caught.value) and "safe_globals" not in str(caught.value)


def rewritten(path: Path, change: Callable[[str, bytes], bytes], how: int = zipfile.ZIP_STORED) -> Path:
    """A copy of a file of torch.save with other contents in its members."""
    changed = path.with_name("changed.pth")
    with zipfile.ZipFile(path) as source, zipfile.ZipFile(changed, "w", how) as target:
        for info in source.infolist():
            target.writestr(info.filename, change(info.filename, source.read(info)))
    return changed


def test_a_tuple_in_a_tuple_does_not_end_the_process(tmp_path: Path) -> None:
    deep = b"\x80\x02})" + b"\x85" * 2_000_000 + b"K\x01s."  # hashing it would overflow the stack
    torch.save({"a": torch.zeros(1)}, tmp_path / "a.pth")
    refused(rewritten(tmp_path / "a.pth", lambda n, data: deep if n.endswith("data.pkl") else data), "1000 levels deep")
    before_zip({"a": torch.zeros(1)}, tmp_path / "b.pth")
    data = (tmp_path / "b.pth").read_bytes()
    (tmp_path / "b.pth").write_bytes(data[:15] + deep)
    refused(tmp_path / "b.pth", "1000 levels deep")


def test_a_bomb_is_refused_before_it_is_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.save({"a": torch.zeros(1000)}, tmp_path / "a.pth")
    bomb = rewritten(
        tmp_path / "a.pth", lambda n, data: bytes(30_000_000) if n.endswith("data/0") else data, zipfile.ZIP_DEFLATED
    )
    assert bomb.stat().st_size < 50_000
    monkeypatch.setattr(weights_file, "free_memory", lambda: 30_000_000)
    monkeypatch.setattr(torch, "load", None)
    refused(bomb, r"that takes 0\.0 GB of memory, and 0\.0 are free\. Shut down other notebooks")


def test_a_pickle_that_unpacks_to_more_than_it_says(tmp_path: Path) -> None:
    torch.save({"a": torch.zeros(1)}, tmp_path / "a.pth")
    size = 50_000_000
    bomb = rewritten(
        tmp_path / "a.pth", lambda n, data: bytes(size) if n.endswith("data.pkl") else data, zipfile.ZIP_DEFLATED
    )
    data = bomb.read_bytes()
    assert data.count(size.to_bytes(4, "little")) == 2
    bomb.write_bytes(data.replace(size.to_bytes(4, "little"), (1000).to_bytes(4, "little")))
    tracemalloc.start()
    refused(bomb, "no whole zip file")
    assert tracemalloc.get_traced_memory()[1] < 10_000_000
    tracemalloc.stop()


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_a_file_larger_than_the_free_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    (save_file if suffix == ".safetensors" else torch.save)({"a": torch.zeros(1000)}, path)
    monkeypatch.setattr(weights_file, "free_memory", lambda: 3_000)
    refused(path, "of memory, and .* are free")


@pytest.mark.parametrize("shape", [(10**12,), (2**40, 2**40)])
def test_a_shape_without_values(tmp_path: Path, shape: tuple[int, ...]) -> None:
    for write in (export, before_zip):
        write({"a": torch.zeros(1).expand(10**6)}, tmp_path / "a.pth")
        refused(tmp_path / "a.pth", r"does not hold the values of 'a', a tensor of shape \(1000000,\)")
        write({"a": torch.zeros(shape[:1], device="meta")}, tmp_path / "a.pth")
        refused(tmp_path / "a.pth", "does not hold the values of 'a'")
    header = json.dumps({"a": {"dtype": "F32", "shape": shape, "data_offsets": [0, 4]}}).encode()
    (tmp_path / "a.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + bytes(4))
    refused(tmp_path / "a.safetensors", "the file is damaged: 'a' has 4 bytes, which are not F32")


def test_what_else_is_no_file_of_torch(tmp_path: Path) -> None:
    (tmp_path / "a.pth").write_bytes(b"")
    refused(tmp_path / "a.pth", "it is empty. A download cut short")
    (tmp_path / "a.pth").write_bytes(b"<html>Not found</html>")
    refused(tmp_path / "a.pth", "it begins with b'<html>No', as no file of torch.save does")


@pytest.mark.parametrize("n_times", [200, pytest.param(5000, marks=pytest.mark.soak)])
@pytest.mark.parametrize("write", [export, before_zip, save_file])
def test_damaged_weights_are_an_error_or_weights(
    tmp_path: Path, write: Callable[[Any, Path], None], n_times: int
) -> None:
    path = tmp_path / ("a.safetensors" if write is save_file else "a.pth")
    write({"a": torch.arange(6.0).reshape(2, 3), "b.c": torch.zeros(2, dtype=torch.long)}, path)
    whole, rng = path.read_bytes(), random.Random(0)
    for k in range(n_times):
        data = bytearray(whole)
        if k % 3:
            data[rng.randrange(len(whole))] ^= 1 << rng.randrange(8)
        else:
            del data[rng.randrange(len(whole)) :]
        path.write_bytes(data)
        try:
            state = read_state_dict(path)
        except WeightsError:
            continue
        assert k % 3 and all(isinstance(tensor, torch.Tensor) for tensor in state.values())
