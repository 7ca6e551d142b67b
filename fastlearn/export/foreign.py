"""Models of other programs that a user may try to load, and how their weights come over without running them."""

from __future__ import annotations

import zipfile
from pathlib import Path

from fastlearn.errors import CheckpointError
from fastlearn.runtime.file_bytes import open_regular
from fastlearn.runtime.zip_bytes import open_zip

_KINDS = {".onnx": "an ONNX program", ".safetensors": "a file of weights alone", ".pt2": "a program of torch.export"}


def refuse_foreign(path: Path, name: str) -> None:
    """CheckpointError for a file that is recognised as no bundle but something else, and what to do with that.

    Looks at the first bytes and at the list of members; nothing is loaded.
    """
    with open_regular(path, name) as (file, size):
        head = file.read(8)
    if not size:
        raise CheckpointError(f"{name} is empty (0 bytes). Copy it again from where it came.")
    if _is_pickle(head) or (head.startswith(b"PK") and _holds_a_pickle(path, name)):
        raise CheckpointError(_PICKLE.format(name=name, file=path.name))
    if not head.startswith(b"PK"):
        kind = _KINDS.get(path.suffix.lower(), f"something else (it starts with {head!r})")
        raise CheckpointError(f"{name} is no model that learn.export('model.fl') wrote, but {kind}.")


def _is_pickle(head: bytes) -> bool:
    return head[:1] == b"\x80" and head[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05")


def _holds_a_pickle(path: Path, name: str) -> bool:
    """Whether it is a zip as torch.save writes it. What is wrong with another one is told where it is read."""
    try:
        with open_zip(path, name) as zipped:
            return any(member.endswith((".pkl", ".pickle")) for member in zipped.namelist())
    except (CheckpointError, zipfile.BadZipFile):
        return False


_PICKLE = """\
{name} is a pickle, as fast.ai's learn.export and torch.save write them: a program, which Python runs when it opens \
the file, whoever wrote it. fastlearn does not run it. If you trust it, take the weights out where fast.ai is installed:
    from fastai.vision.all import load_learner
    from safetensors.torch import save_file
    weights = load_learner({file!r}).model.state_dict()
    save_file({{name: tensor.contiguous() for name, tensor in weights.items()}}, "weights.safetensors")
and put them into a learner of the same architecture and classes here:
    from safetensors.torch import load_file
    learn = vision_learner(dls, resnet18, pretrained=False)
    learn.model.load_state_dict(load_file("weights.safetensors"))
    learn.export("model.fl")"""
