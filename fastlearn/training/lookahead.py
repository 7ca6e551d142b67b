"""Lookahead around any optimizer, and ranger."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from fastlearn.errors import ConfigError
from fastlearn.options import checked_number, checked_whole, named_options
from fastlearn.training.decay import DecoupledDecay
from fastlearn.training.optimizers_extra import Group, RAdam


class Lookahead(Optimizer):
    """Any optimizer, with weights that every `k` steps go back to `alpha` of the way (Zhang et al. 2019, algorithm 1).

    Groups, state and defaults are the inner optimizer's; the slow weights lie in its state as `slow`, and the number of
    steps in the group key `lookahead_step`, so state dicts carry both. A step skipped by `found_inf` counts towards k.
    A parameter joins at the first round of k steps that finds it with a gradient.

    >>> opt_func = lambda params, lr: Lookahead(SGD(params, lr, mom=0.9))
    """

    _step_supports_amp_scaling = True

    @named_options
    def __init__(self, opt: Optimizer, k: int = 6, alpha: float = 0.5) -> None:
        if not isinstance(opt, Optimizer):
            raise ConfigError(f"Lookahead wraps an optimizer, found {opt!r}. Type Lookahead(Adam(params, lr=1e-3)).")
        if checked_whole(k, "k", "6") < 1 or not 0 <= checked_number(alpha, "alpha", 0.5) <= 1:
            raise ConfigError(f"Lookahead needs k of 1 or more and alpha from 0 to 1, found k={k}, alpha={alpha}.")
        self.opt, self.k, self.alpha = opt, k, alpha
        self._optimizer_step_pre_hooks = OrderedDict()
        self._optimizer_step_post_hooks = OrderedDict()
        for group in opt.param_groups:
            group.setdefault("lookahead_step", 0)
        opt.defaults.setdefault("lookahead_step", 0)

    @property
    def param_groups(self) -> list[Group]:  # type: ignore[override]
        return self.opt.param_groups

    @property
    def state(self) -> Any:  # type: ignore[override]
        return self.opt.state

    @property
    def defaults(self) -> dict[str, Any]:  # type: ignore[override]
        return self.opt.defaults

    def __repr__(self) -> str:
        return f"Lookahead(k={self.k}, alpha={self.alpha}, {self.opt!r})"

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__.copy()

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)

    def exempt(self, params: Iterable[nn.Parameter]) -> None:
        """Spare these parameters the inner optimizer's weight decay, where it is one of ours."""
        if isinstance(self.opt, (DecoupledDecay, Lookahead)):
            self.opt.exempt(params)

    def add_param_group(self, param_group: Group) -> None:
        self.opt.add_param_group(param_group)

    def zero_grad(self, set_to_none: bool = True) -> None:
        self.opt.zero_grad(set_to_none)

    def state_dict(self) -> dict[str, Any]:
        return self.opt.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.opt.load_state_dict(state_dict)

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:  # type: ignore[override]
        """One step of the inner optimizer; every k-th also moves the slow weights and returns to them."""
        count = self.param_groups[0]["lookahead_step"]
        fresh = self._start() if count % self.k == 0 else {}
        loss = self._inner_step(closure)
        for param, slow in fresh.items():  # only now: torch makes a parameter's state when it finds it empty
            self.state[param]["slow"] = slow
        if (count + 1) % self.k == 0:
            self._synchronise()
        for group in self.param_groups:
            group["lookahead_step"] = count + 1
        return loss

    step.hooked = True  # type: ignore[attr-defined]  # the inner step runs the hooks

    def _params(self) -> list[Tensor]:
        return [param for group in self.param_groups for param in group["params"] if param.grad is not None]

    def _start(self) -> dict[Tensor, Tensor]:
        return {param: param.detach().clone() for param in self._params() if "slow" not in self.state.get(param, {})}

    def _inner_step(self, closure: Callable[[], Any] | None) -> Any:
        flags = {name: getattr(self, name) for name in ("found_inf", "grad_scale") if hasattr(self, name)}
        for name, value in flags.items():
            setattr(self.opt, name, value)
        try:
            return self.opt.step(closure)
        finally:
            for name in flags:
                delattr(self.opt, name)

    def _synchronise(self) -> None:
        fast = [param for param in self._params() if "slow" in self.state[param]]
        slow = [self.state[param]["slow"] for param in fast]
        if fast:
            torch._foreach_lerp_(slow, fast, self.alpha)
            torch._foreach_copy_(fast, slow)


@named_options
def ranger(
    params: Any,
    lr: float = 1e-3,
    mom: float = 0.95,
    wd: float = 0.01,
    eps: float = 1e-6,
    k: int = 6,
    alpha: float = 0.5,
    *,
    sqr_mom: float = 0.99,
    beta: float = 0.0,
    decouple_wd: bool = True,
) -> Lookahead:
    """RAdam inside Lookahead (Wright 2019)."""
    inner = RAdam(params, lr, mom=mom, sqr_mom=sqr_mom, eps=eps, wd=wd, beta=beta, decouple_wd=decouple_wd)
    return Lookahead(inner, k=k, alpha=alpha)
