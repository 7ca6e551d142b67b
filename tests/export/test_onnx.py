"""ONNX programs: they answer as the module did, and what is more than arithmetic never reaches onnxruntime."""

from __future__ import annotations

import contextlib
import random
import resource
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import pytest
import torch
from onnx import TensorProto, helper
from torch import Tensor, nn

from fastlearn.errors import CheckpointError, ConfigError, MissingExtraError
from fastlearn.export.onnx import OnnxProgram, checked_program, to_onnx


class Net(nn.Module):
    """A convolution that keeps the size, so that any size goes."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm, self.line = nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.line(torch.relu(self.norm(self.conv(x))).mean((2, 3)))


@pytest.fixture(scope="module")
def net() -> Net:
    torch.manual_seed(0)
    return Net().eval()


@pytest.fixture(scope="module")
def data(net: Net) -> bytes:
    return to_onnx(net, torch.rand(2, 3, 16, 20))


def answer(data: bytes, batch: Tensor) -> Tensor:
    return OnnxProgram(data, 3, "model.onnx of it")(batch)


@pytest.mark.parametrize("n", [1, 2, 5])
def test_a_program_answers_as_the_module(net: Net, data: bytes, n: int) -> None:
    batch = torch.rand(n, 3, 16, 20)
    with torch.no_grad():
        torch.testing.assert_close(answer(data, batch), net(batch), rtol=0, atol=1e-6)


def test_pictures_of_any_size(net: Net) -> None:
    data = to_onnx(net, torch.rand(2, 3, 16, 20), any_size=True)
    batch = torch.rand(3, 3, 31, 8)
    with torch.no_grad():
        torch.testing.assert_close(answer(data, batch), net(batch), rtol=0, atol=1e-6)


def test_the_model_stays_as_it_was() -> None:
    net = Net().train()
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    to_onnx(net, torch.rand(2, 3, 8, 8))
    assert all(module.training for module in net.modules())
    assert all(torch.equal(before[name], tensor) for name, tensor in net.state_dict().items())


def test_no_source_code_and_no_path_is_in_a_program(data: bytes) -> None:
    assert b"forward" not in data and b".py" not in data and str(Path(__file__).parent).encode() not in data


def test_another_size_than_its_own_is_named(data: bytes) -> None:
    with pytest.raises(CheckpointError, match=r"model.onnx of it does not take pictures of shape \(1, 3, 9, 9\)"):
        answer(data, torch.rand(1, 3, 9, 9))


class Undecided(nn.Module):
    """Goes one way or the other by a value, which no program can."""

    def forward(self, x: Tensor) -> Tensor:
        return x.mean((2, 3)) if float(x.sum()) > 0 else x.amax((2, 3))


def test_a_module_that_is_no_program_is_named() -> None:
    with pytest.raises(ConfigError, match="torch cannot turn this Undecided into an ONNX program: .*learn.save"):
        to_onnx(Undecided(), torch.rand(2, 3, 8, 8))


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(MissingExtraError, match=r'onnxscript is missing. Type pip install "fastlearn\[export\]"'):
        to_onnx(Net(), torch.rand(2, 3, 8, 8))


# Attacks


def changed(data: bytes, change: Callable[[Any], object]) -> bytes:
    program = onnx.load_model_from_string(data)
    change(program)
    return bytes(program.SerializeToString())


def outside(tensor: Any, location: str) -> None:
    """Have a tensor's values be read from somewhere else."""
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in (("location", location), ("offset", "0"), ("length", "16")):
        tensor.external_data.add(key=key, value=value)


def in_attribute(program: Any) -> None:
    """The same, deep inside: in a constant of the branch of a condition."""
    hidden = TensorProto(name="hidden", data_type=1, dims=[4])
    outside(hidden, "/etc/passwd")
    node = helper.make_node("Constant", [], ["c"], value=hidden)
    branch = helper.make_graph([node], "g", [], [helper.make_tensor_value_info("c", 1, [4])])
    program.graph.node.append(helper.make_node("If", ["cond"], ["d"], then_branch=branch, else_branch=branch))


def with_node(*names: str, **fields: str) -> Callable[[Any], object]:
    return lambda program: program.graph.node.append(helper.make_node(*names, ["pictures"], ["z"], **fields))


ATTACKS: list[tuple[Callable[[Any], object], str]] = [
    (lambda p: outside(p.graph.initializer[0], "/etc/passwd"), "outside of itself, in '/etc/passwd'"),
    (lambda p: outside(p.graph.initializer[0], "../../secret"), r"outside of itself, in '\.\./\.\./secret'"),
    (lambda p: outside(p.graph.initializer[0], "weights.bin"), "outside of itself, in 'weights.bin'"),
    (lambda p: outside(p.graph.initializer[0], "*/_ORT_MEM_ADDR_/*"), "outside of itself"),
    (lambda p: p.graph.initializer[0].external_data.add(key="location", value="/etc/passwd"), "outside of itself"),
    (in_attribute, "tensor 'hidden' outside of itself"),
    (with_node("Evil", domain="my.ops"), "operator 'Evil' of 'my.ops' is none of ONNX's own"),
    (with_node("EPContext", domain="com.microsoft"), "operator 'EPContext' of 'com.microsoft'"),
    (with_node("NoSuchOperator"), "operator 'NoSuchOperator' of 'ONNX'"),
    (with_node("Loop"), "operator 'Loop' may never end"),
    (lambda p: p.opset_import.add(domain="my.ops", version=1), "operators of its own .'my.ops'"),
    (lambda p: p.functions.add(name="f", domain="f"), "operators of its own .functions"),
    (lambda p: p.training_info.add(), "training program"),
    (lambda p: p.graph.initializer.add(name="big", data_type=1, dims=[1 << 40]), "'big' of shape .* is larger than"),
    (lambda p: p.graph.initializer.add(name="big", data_type=1, dims=[-1]), "'big'"),
    (lambda p: p.graph.sparse_initializer.add(dims=[1 << 40]), "sparse tensor"),
    (lambda p: p.MergeFromString(b"\x12\x01\xff"), "producer_name is no text"),
    (lambda p: p.graph.input.add(name="more"), r"takes \['pictures', 'more'\]"),
    (lambda p: setattr(p.graph.output[0], "name", "x"), r"gives \['x'\]"),
    (lambda p: p.graph.ClearField("input"), r"takes \[\]"),
    (lambda p: setattr(p.graph.input[0].type.tensor_type, "elem_type", 8), "takes no float pictures"),
    (lambda p: setattr(p.graph.input[0].type.tensor_type.shape.dim[1], "dim_value", 4), "of 3 channels"),
]


@pytest.mark.parametrize(("change", "said"), ATTACKS)
def test_what_is_more_than_arithmetic_is_refused_before_it_is_run(
    data: bytes, change: Callable[[Any], object], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("onnxruntime.InferenceSession", None)  # it must not come so far
    with pytest.raises(CheckpointError, match=f"model.onnx of it is refused, and nothing of it was run: .*{said}"):
        OnnxProgram(changed(data, change), 3, "model.onnx of it")


@pytest.mark.parametrize("data", [b"", b"nonsense", b"\x0a" * 1000, b"\xff" * 1000])
def test_what_is_no_program(data: bytes) -> None:
    with pytest.raises(CheckpointError, match="^it is (no ONNX program|refused)"):
        OnnxProgram(data, 3, "it")


@pytest.mark.parametrize("operator", ["ConstantOfShape", "Expand", "Tile"])
def test_a_program_that_asks_for_all_memory_gets_none(operator: str) -> None:
    shape = helper.make_tensor("shape", TensorProto.INT64, [4], [1, 10**4, 10**4, 10**4])
    one = helper.make_tensor("one", TensorProto.FLOAT, [1, 1, 1, 1], [1.0])
    given = ["shape"] if operator == "ConstantOfShape" else ["one", "shape"]
    nodes = [
        helper.make_node(operator, given, ["large"]),
        helper.make_node("ReduceMean", ["large"], ["mean"], keepdims=1),
        helper.make_node("Add", ["pictures", "mean"], ["all"]),
        helper.make_node("GlobalAveragePool", ["all"], ["outputs"]),
    ]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 3, *sides])
            for name, sides in (("pictures", ["h", "w"]), ("outputs", [1, 1]))]  # fmt: skip
    graph = helper.make_graph(nodes, "g", ends[:1], ends[1:], [shape, one])
    program = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(CheckpointError, match="half of the free memory|supported maximum"):
        answer(program.SerializeToString(), torch.rand(1, 3, 4, 4))
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100 << 10  # kB


def test_a_program_too_large(data: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fastlearn.export.onnx.MOST_BYTES", 100)
    with pytest.raises(CheckpointError, match="more than the limit of 100"):
        checked_program(data, 3, "it")


def test_a_program_of_too_many_operators(data: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fastlearn.export.onnx._MOST_NODES", 3)
    with pytest.raises(CheckpointError, match="more than 3 operators"):
        checked_program(data, 3, "it")


def test_settings_and_unknown_fields_do_not_reach_onnxruntime(data: bytes) -> None:
    settings = changed(data, lambda p: p.metadata_props.add(key="ort_config", value='{"session_options": {}}'))
    unknown = settings + bytes([0xA2, 0x3F, 4]) + b"evil"  # field 1012, which onnx does not have
    assert b"evil" in unknown and checked_program(unknown, 3, "it") == checked_program(data, 3, "it")


def test_a_program_that_contradicts_itself_is_named(data: bytes) -> None:
    wrong = changed(data, lambda p: p.graph.node[0].input.__setitem__(1, "nowhere"))
    with pytest.raises(CheckpointError, match="onnxruntime refuses it: "):
        OnnxProgram(wrong, 3, "it")


@pytest.mark.soak
def test_damaged_programs_are_named_and_end_nothing(data: bytes, capfd: pytest.CaptureFixture[str]) -> None:
    rng, batch = random.Random(0), torch.rand(1, 3, 16, 20)
    for k in range(3_000):
        damaged = bytearray(data if k % 5 else data[: rng.randrange(1, len(data))])
        for _ in range(rng.choice([1, 1, 2, 5])):
            damaged[rng.randrange(len(damaged))] = rng.randrange(256)
        with contextlib.suppress(CheckpointError):
            answer(bytes(damaged), batch)
    assert capfd.readouterr() == ("", "")
