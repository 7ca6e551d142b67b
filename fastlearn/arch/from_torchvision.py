"""torchvision's image classifiers by name, with the weights that it publishes for them or those in a file."""

from __future__ import annotations

import re
from typing import Any

from torch import nn

from fastlearn.arch.download import from_torch_hub
from fastlearn.arch.weights_file import is_weights_file, load_into, read_state_dict
from fastlearn.errors import ConfigError, near


def is_torchvision(name: str) -> bool:
    """Whether `name` is one of torchvision's image classifiers."""
    import torchvision

    return name in torchvision.models.list_models(module=torchvision.models)


def torchvision_network(name: str, pretrained: bool, weights: Any, options: dict[str, Any]) -> nn.Module:
    """torchvision's `name`, whole; its weights are random, out of a file, or an entry of torchvision's enum."""
    import torchvision

    if "pretrained" in options:
        raise ConfigError(
            f"{name} takes weights=…, not pretrained. For a learner give the function itself, without brackets: "
            f"vision_learner(dls, {name}, pretrained={bool(options['pretrained'])})."
        )
    network: nn.Module = torchvision.models.get_model(name, weights=None, **options)
    if not pretrained:
        return network
    if is_weights_file(weights):
        state = read_state_dict(weights)
    else:
        state = from_torch_hub(name, torchvision_entry(name, weights).url)
    load_into(network, {_torchvision_key(key): value for key, value in state.items()}, name)
    return network


def torchvision_entry(name: str, weights: Any) -> Any:
    """The entry of torchvision's weights enum that `weights` is or names; its first for None."""
    import torchvision

    entries = list(torchvision.models.get_model_weights(name))
    if weights is None:
        return entries[0]
    if isinstance(weights, str):
        wanted = weights.rpartition(".")[2]
        names = {entry.name: entry for entry in entries}
        if wanted == "DEFAULT":
            return torchvision.models.get_model_weights(name).DEFAULT
        if wanted in names:
            return names[wanted]
    elif weights in entries:
        return weights
    raise ConfigError(
        f"Unknown weights {str(weights)!r} for {name}. Expected {', '.join(entry.name for entry in entries)}, DEFAULT, "
        f"or the path of a file.{near(str(weights), [entry.name for entry in entries])}"
    )


def _torchvision_key(key: str) -> str:
    # DenseNet's files date from when module names could hold dots: denselayer1.norm.1.weight is now …norm1.weight.
    return re.sub(r"(denselayer\d+\.(?:norm|conv))\.(\d)\.", r"\1\2.", key)
