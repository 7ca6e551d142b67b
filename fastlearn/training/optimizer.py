"""Optimizers that torch has, with decoupled weight decay in front.

What torch lacks stands in `optimizers_extra`. All are ordinary `torch.optim.Optimizer`s: state dicts, parameter groups
and hooks into torch work as usual.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterable, Sequence
from numbers import Real
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from fastlearn.errors import ConfigError
from fastlearn.options import checked_flag, checked_function, checked_list, checked_number, found, named_options
from fastlearn.training.decay import DecoupledDecay, undo_if
from fastlearn.training.hypers import LR, check_lr, lr_groups


def check_wd(wd: Any) -> None:
    """Nothing, if `wd` is None or a number from 0; else ConfigError."""
    if wd is not None and (isinstance(wd, bool) or not isinstance(wd, Real) or not 0 <= float(wd) < math.inf):
        raise ConfigError(f"wd is the weight decay, a number from 0 (0.01 is usual), found {wd!r}.")


def check_hypers(*, eps: Any = 0.0, **momenta: Any) -> None:
    """ConfigError unless `eps` is a number from 0, and each momentum one from 0 to below 1."""
    if not checked_number(eps, "eps", 1e-5) >= 0:
        raise ConfigError(f"eps is a small number from 0, such as 1e-5, not {eps!r}.")
    for name, value in momenta.items():
        if not 0 <= checked_number(value, name, 0.9) < 1:
            raise ConfigError(f"{name} is a number from 0 to below 1, such as 0.9, not {value!r}.")


class _Torch(DecoupledDecay):
    """An optimizer of torch whose own step follows the decay."""

    _fused: bool
    _torch_step: Callable[..., Any]

    def _update(self, skip: Tensor | None) -> None:
        if skip is None or self._fused:  # fused kernels look at found_inf themselves
            self._torch_step()
            return
        self.found_inf = None  # torch's other implementations refuse it
        try:
            params = [param for group in self.param_groups for param in group["params"] if param.grad is not None]
            undo_if(skip, params, self.state, self._torch_step)
        finally:
            self.found_inf = skip


# torch's steps without the profiling wrapper that an earlier instance of the class may have put around them
_torch_sgd_step = inspect.unwrap(torch.optim.SGD.step)
_torch_adam_step = inspect.unwrap(torch.optim.Adam.step)


class SGD(_Torch, torch.optim.SGD):
    """torch's fused SGD with undampened momentum and decoupled weight decay.

    With `mom=0` there is no momentum, whatever a schedule says. `fused=None` takes the fused kernel where there is one.
    """

    @named_options
    def __init__(
        self,
        params: Any,
        lr: float = 1e-3,
        mom: float = 0.0,
        wd: float = 0.0,
        decouple_wd: bool = True,
        *,
        fused: bool | None = None,
    ) -> None:
        groups = as_groups(params, lr)
        check_hypers(mom=mom)
        check_wd(wd)
        self._fused = _can_fuse(groups) if fused is None else checked_flag(fused, "fused")
        torch.optim.SGD.__init__(self, groups, lr=lr, momentum=mom, fused=self._fused or None)
        self._add_decay_defaults(wd, decouple_wd)

    def _torch_step(self) -> None:
        _torch_sgd_step(self)

    def _update(self, skip: Tensor | None) -> None:
        if skip is not None and self._fused:
            self._start_momentum()
        super()._update(skip)

    def _start_momentum(self) -> None:
        # A fused first step that is skipped would leave torch's new momentum buffers uninitialised; zeros give the
        # same first step and survive a skipped one.
        for group in self.param_groups:
            if group["momentum"]:
                for param in group["params"]:
                    if param.grad is not None and self.state[param].get("momentum_buffer") is None:
                        self.state[param]["momentum_buffer"] = torch.zeros_like(param)


class Adam(_Torch, torch.optim.Adam):
    """torch's fused Adam (Kingma & Ba 2015) with decoupled weight decay, which makes it AdamW.

    `AdamW` is the same class. β = (mom, sqr_mom). `fused=None` takes the fused kernel where there is one.

    >>> opt = Adam(model.parameters(), lr=1e-3)
    >>> opt.exempt(biases_and_norms)
    """

    @named_options
    def __init__(
        self,
        params: Any,
        lr: float = 1e-3,
        mom: float = 0.9,
        sqr_mom: float = 0.99,
        eps: float = 1e-5,
        wd: float = 0.01,
        decouple_wd: bool = True,
        *,
        fused: bool | None = None,
    ) -> None:
        groups = as_groups(params, lr)
        check_hypers(eps=eps, mom=mom, sqr_mom=sqr_mom)
        check_wd(wd)
        self._fused = _can_fuse(groups) if fused is None else checked_flag(fused, "fused")
        betas = (float(mom), float(sqr_mom))
        torch.optim.Adam.__init__(self, groups, lr=lr, betas=betas, eps=eps, fused=self._fused or None)
        self._add_decay_defaults(wd, decouple_wd)

    def _torch_step(self) -> None:
        _torch_adam_step(self)


AdamW = Adam
PARAMS = "parameters, such as model.parameters()"


def as_groups(params: Any, lr: float) -> list[Any]:
    """`params` as torch takes them: tensors, dicts, or lists of tensors, each list a group. Checks `lr` on the way."""
    if not isinstance(lr, (Real, Tensor)):
        raise ConfigError(f"lr is one number such as 0.001, not {found(lr)}; a group of its own rate is a dict.")
    check_lr(lr)
    params = [params] if isinstance(params, Tensor) else checked_list(params, "params", PARAMS)
    if wrong := [one for one in params if not isinstance(one, (Tensor, dict, list, tuple))]:
        raise ConfigError(f"params is a list of {PARAMS}; it holds {found(wrong[0])}.")
    if not params:
        raise ConfigError("The optimizer was given no parameters. Is the model empty, or model.parameters() used up?")
    if isinstance(params[0], (list, tuple)) and not (params[0] and isinstance(params[0][0], str)):
        return [{"params": list(group)} for group in params]
    return params


def _can_fuse(groups: list[Any]) -> bool:
    tensors: list[Tensor] = []
    for group in groups:
        if isinstance(group, dict):
            group["params"] = [group["params"]] if isinstance(group["params"], Tensor) else list(group["params"])
            tensors += [part[1] if isinstance(part, tuple) else part for part in group["params"]]
        else:
            tensors.append(group[1] if isinstance(group, tuple) else group)
    return all(param.is_floating_point() and param.device.type in ("cpu", "cuda") for param in tensors)


def OptimWrapper(
    params: Any, lr: float = 1e-3, opt: Callable[..., Optimizer] = torch.optim.AdamW, **kwargs: Any
) -> Optimizer:
    """A plain torch optimizer, as in `opt_func=partial(OptimWrapper, opt=torch.optim.Adam)`.

    No wrapper is needed here: `opt_func=torch.optim.Adam` does the same. `kwargs` go to `opt`.
    """
    return checked_function(opt, "opt")(as_groups(params, lr), lr=lr, **kwargs)


def make_optimizer(
    opt_func: Callable[..., Optimizer],
    groups: Sequence[Sequence[nn.Parameter]],
    lr: LR,
    wd: float | None = None,
    exempt: Iterable[nn.Parameter] = (),
) -> Optimizer:
    """The optimizer that `opt_func` (ours, torch's, or a partial of either) makes for these groups.

    `lr` is spread by `lr_groups`. `wd=None` keeps the optimizer's own default. `exempt` parameters are spared decoupled
    decay; a plain torch optimizer decays whole groups and cannot spare them.
    """
    if not callable(opt_func):
        raise ConfigError(
            f"opt_func is what makes an optimizer, such as Adam or partial(SGD, mom=0.9), found {opt_func!r}."
        )
    check_wd(wd)
    rates = lr_groups(lr, len(groups))
    given = [{"params": list(group), "lr": rate} for group, rate in zip(groups, rates, strict=True)]
    try:
        optimizer = opt_func(given, lr=rates[-1])
    except TypeError as error:
        if isinstance(error, ConfigError):
            raise
        raise ConfigError(
            f"opt_func is called as opt_func(params, lr=…), which failed: {error}. "
            "Type opt_func=partial(SGD, mom=0.9), say."
        ) from error
    if not isinstance(optimizer, Optimizer):
        raise ConfigError(
            f"opt_func gave a {type(optimizer).__name__}, expected a torch.optim.Optimizer such as Adam(params, lr)."
        )
    ours = hasattr(optimizer, "exempt")
    if wd is not None:
        key = "wd" if ours else "weight_decay"
        if key not in optimizer.param_groups[0]:
            name = type(optimizer).__name__
            raise ConfigError(f"{name} has no weight decay; leave out wd={wd}, or choose opt_func=Adam.")
        for group in (optimizer.defaults, *optimizer.param_groups):
            group[key] = wd
    if ours:
        optimizer.exempt(exempt)  # type: ignore[attr-defined]
    return optimizer
