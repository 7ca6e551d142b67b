"""A network as an ONNX program: made from any module, looked through before it is run, and run by onnxruntime.

A program comes from a file that somebody else may have made. onnxruntime follows paths in it, loads libraries for
foreign operators and believes sizes; so it is parsed here first, whatever is not plain arithmetic is refused, and
onnxruntime gets what was looked at, as bytes and with no folder to look in.
"""

from __future__ import annotations

import functools
import importlib
import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from fastlearn.errors import CheckpointError, ConfigError, MissingExtraError
from fastlearn.runtime.memory import free_memory
from fastlearn.runtime.modes import evaluating

MOST_BYTES = (1 << 31) - 1  # protobuf's own limit
_MOST_NODES = 100_000
_OURS = ("", "ai.onnx")
_ENDLESS = {"Loop", "Scan"}  # a program from a file must come to an end
_INPUT, _OUTPUT = "pictures", "outputs"


class OnnxProgram:
    """A program that answers as the module did that it was made from: float (batch, …) in, float (batch, n_out) out.

    Raises CheckpointError, before anything of it is run, for a program that is more than arithmetic on pictures of
    `n_channels` channels; MissingExtraError without onnxruntime.
    """

    def __init__(self, data: bytes, n_channels: int, what: str) -> None:
        _, runtime = _modules("onnx", "onnxruntime")
        checked = checked_program(data, n_channels, what)
        options = runtime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        options.log_severity_level = 4  # what is wrong comes as an error
        _bound_memory()
        options.add_session_config_entry("session.use_env_allocators", "1")
        runtime.disable_telemetry_events()
        try:
            self._session = runtime.InferenceSession(
                checked,
                options,
                providers=["CPUExecutionProvider"],
                enable_fallback=0,  # which prints, and tries the same again
                read_config_from_model=0,  # whatever the environment says
            )
        except Exception as error:  # onnxruntime's errors have no common class but this
            raise CheckpointError(f"onnxruntime refuses {what}: {_reason(error)}") from error
        self._what = what

    def __call__(self, batch: Tensor) -> Tensor:
        """The raw outputs for a batch of normalised pictures, on the CPU."""
        try:
            (found,) = self._session.run([_OUTPUT], {_INPUT: batch.numpy()})
        except Exception as error:
            if "Available memory" in str(error):
                raise CheckpointError(
                    f"{self._what} asks for more than half of the free memory, and gets none."
                ) from error
            shape = tuple(batch.shape)
            raise CheckpointError(f"{self._what} does not take pictures of shape {shape}: {_reason(error)}") from error
        return torch.from_numpy(found)


@functools.cache
def _bound_memory() -> None:
    """Let all programs of this process together take half of the memory that is free now: a thousand bytes of a program
    can ask for any number of zeros. Beyond that onnxruntime answers with an error.
    """
    (runtime,) = _modules("onnxruntime")
    place = runtime.OrtMemoryInfo("Cpu", runtime.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, runtime.OrtMemType.DEFAULT)
    # 1: as much more as is asked for, in place of twice as much as before
    bounds = runtime.OrtArenaCfg({"max_mem": max(1 << 28, free_memory() // 2), "arena_extend_strategy": 1})
    runtime.create_and_register_allocator(place, bounds)


def to_onnx(model: nn.Module, example: Tensor, any_size: bool = False) -> bytes:
    """`model` in evaluation mode as an ONNX program for batches of any length, and with `any_size` of any size.

    `example` is an input of two or more samples, on the model's device. Raises ConfigError for a model that torch
    cannot turn into a program, MissingExtraError without the packages for it.
    """
    _modules("onnx", "onnxscript", "onnxruntime")
    free: dict[int, Any] = {0: torch.export.Dim("batch")}
    if any_size:
        free |= {2: torch.export.Dim.AUTO, 3: torch.export.Dim.AUTO}
    try:
        with evaluating(model), torch.no_grad():
            program = torch.onnx.export(
                model,
                (example,),
                dynamo=True,
                dynamic_shapes=(free,),
                input_names=[_INPUT],
                output_names=[_OUTPUT],
                external_data=False,
                verbose=False,
            )
        assert program is not None
        proto = program.model_proto
    except Exception as error:  # the user's own forward runs in there, in an unusual way
        raise ConfigError(
            f"torch cannot turn this {type(model).__name__} into an ONNX program: {_reason(error)}. Its forward may "
            "use no Python that depends on the values in its tensors. learn.save keeps the weights alone."
        ) from error
    _strip(proto)
    if proto.ByteSize() > MOST_BYTES:
        raise ConfigError(f"The ONNX program has {proto.ByteSize():,} bytes, and such files end at {MOST_BYTES:,}.")
    return bytes(proto.SerializeToString())


def checked_program(data: bytes, n_channels: int, what: str) -> bytes:
    """The program without remarks, as bytes that say the same to every reader; CheckpointError says what is refused."""
    (onnx,) = _modules("onnx")
    if len(data) > MOST_BYTES:
        raise CheckpointError(f"{what} has {len(data):,} bytes, more than the limit of {MOST_BYTES:,}.")
    try:
        program = onnx.load_model_from_string(data)
    except Exception as error:
        raise CheckpointError(f"{what} is no ONNX program: {_reason(error)}") from error
    program.DiscardUnknownFields()  # what this reader does not know, onnxruntime's might
    _strip(program)
    if wrong := _wrong(program, len(data), n_channels):
        raise CheckpointError(f"{what} is refused, and nothing of it was run: {wrong}. Load only what you trust.")
    return bytes(program.SerializeToString())


def _wrong(program: Any, n_bytes: int, n_channels: int) -> str:
    """What a program holds that is not plain arithmetic on pictures, or nothing."""
    domains = {entry.domain for entry in program.opset_import} - set(_OURS)
    if domains or len(program.functions):
        return f"it needs operators of its own ({', '.join(sorted(map(repr, domains))) or 'functions'})"
    if len(program.training_info):
        return "it holds a training program"
    n_nodes = 0
    for message in _inside(program):
        kind = type(message).__name__
        n_nodes += kind == "NodeProto"
        if n_nodes > _MOST_NODES:
            return f"it has more than {_MOST_NODES:,} operators"
        if found := _wrong_part(message, kind, n_bytes):
            return found
    return _wrong_ends(program.graph, n_channels)


def _wrong_part(message: Any, kind: str, n_bytes: int) -> str:
    for field, value in message.ListFields():
        if field.type == field.TYPE_STRING and not all(isinstance(text, str) for text in _as_list(value)):
            return f"its {field.name} is no text"  # protobuf gives bytes where it is no UTF-8
    if kind == "NodeProto":
        return _wrong_node(message)
    if kind == "SparseTensorProto":
        return "it holds a sparse tensor"
    if kind != "TensorProto":
        return ""
    if message.data_location or len(message.external_data):
        where = next((entry.value for entry in message.external_data if entry.key == "location"), "?")
        return f"it keeps the tensor {message.name!r} outside of itself, in {where!r}"
    if any(n < 0 for n in message.dims) or math.prod(message.dims) > 8 * n_bytes:
        return f"its tensor {message.name!r} of shape {tuple(message.dims)} is larger than the whole file"
    return ""


def _wrong_node(node: Any) -> str:
    (onnx,) = _modules("onnx")
    if node.domain not in _OURS or not onnx.defs.has(node.op_type):
        return f"its operator {node.op_type!r} of {node.domain or 'ONNX'!r} is none of ONNX's own"
    return f"its operator {node.op_type!r} may never end" if node.op_type in _ENDLESS else ""


def _wrong_ends(graph: Any, n_channels: int) -> str:
    """What is wrong with the program's input or output: one of each, as `to_onnx` names and shapes them."""
    names = [[end.name for end in ends] for ends in (graph.input, graph.output)]
    if names != [[_INPUT], [_OUTPUT]]:
        return f"it takes {names[0]} and gives {names[1]}, expected {_INPUT!r} and {_OUTPUT!r}"
    taken, given = (end.type.tensor_type for end in (graph.input[0], graph.output[0]))
    sides = [side.dim_value for side in taken.shape.dim]
    if (taken.elem_type, given.elem_type) != (1, 1) or len(sides) != 4 or sides[1] not in (0, n_channels):
        return f"its input of shape {sides} (0: any) takes no float pictures of {n_channels} channels"
    return ""


def _strip(program: Any) -> None:
    """Leave out all remarks: those of torch tell source code and paths, and onnxruntime may take one for settings."""
    for message in _inside(program):
        for name in ("metadata_props", "doc_string"):
            if name in message.DESCRIPTOR.fields_by_name:
                message.ClearField(name)


def _inside(message: Any) -> Iterator[Any]:
    """A protobuf message and all that are in it, however deep."""
    waiting = [message]
    while waiting:
        one = waiting.pop()
        yield one
        for field, value in one.ListFields():
            if field.message_type is not None:
                waiting.extend(_as_list(value))


def _as_list(value: Any) -> Any:
    """A field's values, also where it has one and no list."""
    return [value] if isinstance(value, (str, bytes)) or hasattr(value, "ListFields") else value


def _modules(*names: str) -> tuple[Any, ...]:
    try:
        return tuple(importlib.import_module(name) for name in names)
    except ImportError as error:
        raise MissingExtraError(
            "A model of your own, or one with onnx=True, is an ONNX program, for which the package "
            f'{error.name} is missing. Type pip install "fastlearn[export]".'
        ) from error


def _reason(error: Exception) -> str:
    """The first line of an error that says something."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0].rstrip(".") if lines else type(error).__name__
