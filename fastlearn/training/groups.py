"""Groups of parameters, freezing, and which parameters and layers are special: norms and biases."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor, nn

from fastlearn.errors import ConfigError

Splitter = Callable[[nn.Module], Sequence[Any]]
_BATCH_NORMS = (nn.modules.batchnorm._BatchNorm, nn.modules.instancenorm._InstanceNorm)
_NORMS = (*_BATCH_NORMS, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm)


def one_group(model: nn.Module) -> list[list[nn.Parameter]]:
    """All parameters as one group: the splitter of a plain `Learner`."""
    return [list(model.parameters())]


def split_parameters(model: nn.Module, splitter: Splitter) -> list[list[nn.Parameter]]:
    """The splitter's groups as lists of parameters, stem first, head last.

    Raises ConfigError when a parameter is in no group or in two.
    """
    if not callable(splitter):
        raise ConfigError(f"splitter is a function from the model to groups of its parameters, found {splitter!r}.")
    if isinstance(splitter, type):
        raise ConfigError(f"splitter is a function of the model, found the class {splitter.__name__}.")
    made = splitter(model)
    if not isinstance(made, (list, tuple)):
        raise ConfigError(
            f"The splitter gave {made!r}, expected a list of groups of parameters, stem first, head last."
        )
    groups = [_parameters(group) for group in made]
    placed = [id(parameter) for group in groups for parameter in group]
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    if len(placed) != len(set(placed)):
        twice = next(names.get(key, "?") for key in placed if placed.count(key) > 1)
        raise ConfigError(f"The splitter puts the parameter {twice} in more than one group.")
    left_out = [name for key, name in names.items() if key not in set(placed)]
    if left_out:
        raise ConfigError(
            f"The splitter leaves out {len(left_out)} parameters, {left_out[0]} among them, which would never train. "
            "Return one list of parameters for each group, all of them together the whole model."
        )
    return [group for group in groups if group] or [[]]


def norm_parameters(model: nn.Module) -> set[int]:
    """The ids of the parameters of normalisation layers."""
    return {id(p) for module in model.modules() if isinstance(module, _NORMS) for p in module.parameters(recurse=False)}


def bias_parameters(model: nn.Module) -> set[int]:
    """The ids of the parameters that are called `bias`."""
    return {id(p) for m in model.modules() for n, p in m.named_parameters(recurse=False) if n == "bias"}


def depthwise_kernels(model: nn.Module) -> list[Tensor]:
    """The kernels of convolutions that look at each channel by itself."""
    convs = (module for module in model.modules() if isinstance(module, (nn.Conv1d, nn.Conv2d, nn.Conv3d)))
    return [conv.weight for conv in convs if conv.groups == conv.in_channels > 1]


def body_batch_norms(model: nn.Module, groups: Sequence[Sequence[nn.Parameter]]) -> tuple[nn.Module, ...]:
    """The batch-norm layers of every group but the last; none when there is one group only.

    A layer without parameters of its own counts to the body when a parameter of the body stands after it.
    """
    body = {id(parameter) for group in groups[:-1] for parameter in group}
    modules = list(model.modules())
    in_body = [any(id(p) in body for p in module.parameters(recurse=False)) for module in modules]
    last = max((index for index, found in enumerate(in_body) if found), default=-1)
    return tuple(
        module
        for index, module in enumerate(modules)
        if isinstance(module, _BATCH_NORMS)
        and (in_body[index] or (index < last and next(module.parameters(recurse=False), None) is None))
    )


def freeze_groups(groups: Sequence[Sequence[nn.Parameter]], n: int, keep: set[int]) -> None:
    """Let only the groups from `n` on learn, and the parameters whose ids are in `keep`."""
    for index, group in enumerate(groups):
        for parameter in group:
            parameter.requires_grad_(index >= n or id(parameter) in keep)


def _parameters(group: Any) -> list[nn.Parameter]:
    if isinstance(group, nn.Parameter):
        return [group]
    if isinstance(group, nn.Module):
        return list(group.parameters())
    if isinstance(group, dict):
        return _parameters(group["params"])
    return [parameter for part in group for parameter in _parameters(part)]
