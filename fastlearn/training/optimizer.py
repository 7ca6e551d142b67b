"""Optimizers that torch has, with decoupled weight decay in front, and the hyper-parameters that a schedule moves.

What torch lacks stands in `optimizers_extra`. All are ordinary `torch.optim.Optimizer`s: state dicts, parameter groups
and hooks into torch work as usual.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from numbers import Real
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from fastlearn.errors import ConfigError

LR = float | slice | Sequence[float]


def check_lr(lr: Any) -> None:
    """Nothing, if every number in `lr` (a number, slice or sequence) is finite and above zero; else ConfigError."""
    if isinstance(lr, slice):
        if lr.stop is None:
            raise ConfigError(f"lr={lr} has no upper end. Type slice(1e-5, 1e-3), or slice(1e-3) for the head alone.")
        parts = [part for part in (lr.start, lr.stop) if part is not None]
    else:
        parts = list(lr) if isinstance(lr, (Sequence, Iterable)) and not isinstance(lr, (str, Tensor)) else [lr]
    for part in parts:
        try:
            good = not isinstance(part, str) and math.isfinite(float(part)) and float(part) > 0
        except (TypeError, ValueError):
            good = False
        if not good:
            raise ConfigError(
                f"The learning rate must be a number above 0, found {part!r} in lr={lr!r}. "
                "Usual values lie between 1e-5 and 1e-1; learn.lr_find() suggests one."
            )


def check_wd(wd: Any) -> None:
    """Nothing, if `wd` is None or a number from 0; else ConfigError."""
    if wd is not None and (isinstance(wd, bool) or not isinstance(wd, Real) or not 0 <= float(wd) < math.inf):
        raise ConfigError(f"wd is the weight decay, a number from 0 (0.01 is usual), found {wd!r}.")


def lr_groups(lr: LR, n_groups: int) -> list[float]:
    """One learning rate for each of `n_groups` parameter groups, the stem's first.

    A number goes to all; `slice(e)` gives the last group e and the others e/10; `slice(a, b)` spaces them evenly on a
    logarithmic scale; a sequence must have one number a group. Raises ConfigError on any rate that is not above 0.
    """
    check_lr(lr)
    if isinstance(lr, slice):
        stop = float(lr.stop)
        if n_groups == 1:
            return [stop]
        if lr.start is None:
            return [stop / 10] * (n_groups - 1) + [stop]
        start = float(lr.start)
        return [start * (stop / start) ** (k / (n_groups - 1)) for k in range(n_groups)]
    if isinstance(lr, (Sequence, Iterable)) and not isinstance(lr, Tensor):
        rates = [float(rate) for rate in lr]
        if len(rates) != n_groups:
            raise ConfigError(
                f"lr has {len(rates)} values, but the model has {n_groups} parameter groups. "
                "Give one value a group, or slice(lowest, highest)."
            )
        return rates
    return [float(lr)] * n_groups


def set_hypers(optimizer: Optimizer, lr: Any = None, mom: Any = None) -> None:
    """Write a learning rate and a momentum (one number, or one a group; None leaves it) into any torch optimizer.

    Momentum is `betas[0]` or `momentum`, whichever the optimizer has. An optimizer made without momentum
    (`SGD(momentum=0)`) stays without: a schedule does not switch on what was not asked for.
    """
    groups = optimizer.param_groups
    if lr is not None:
        for group, rate in zip(groups, _one_each(lr, len(groups)), strict=True):
            if isinstance(group["lr"], Tensor):  # capturable optimizers keep the rate on the device
                group["lr"].fill_(rate)
            else:
                group["lr"] = rate
    if mom is not None:
        wants_momentum = optimizer.defaults.get("momentum", 0) != 0
        for group, value in zip(groups, _one_each(mom, len(groups)), strict=True):
            if "betas" in group:
                group["betas"] = (value, *group["betas"][1:])
            elif wants_momentum:
                group["momentum"] = value


def get_hypers(optimizer: Optimizer) -> dict[str, list[float]]:
    """`{"lr": [one a group]}`, and `"mom"` likewise when the optimizer has a momentum that `set_hypers` would set."""
    groups = optimizer.param_groups
    hypers = {"lr": [float(group["lr"]) for group in groups]}
    if "betas" in groups[0]:
        hypers["mom"] = [float(group["betas"][0]) for group in groups]
    elif optimizer.defaults.get("momentum", 0) != 0:
        hypers["mom"] = [float(group["momentum"]) for group in groups]
    return hypers


def _one_each(value: Any, n: int) -> Sequence[float]:
    return [value] * n if isinstance(value, (int, float)) else value


class DecoupledDecay(Optimizer):
    """What our optimizers share: weight decay that is no part of the gradient (Loshchilov & Hutter 2019).

    Before the update `p *= 1 - lr*wd`, by one foreach call a group, for parameters that have a gradient and are not
    exempt. `wd`, `decouple_wd` and the mask `decay` are group keys, so state dicts carry them. With `decouple_wd=False`
    `wd*p` is added to the gradient instead (in place).

    If a scaler or a guard has put a one-element tensor at `found_inf`, 1 means: this step changes nothing, decay and
    optimizer state included. The value is never read by the host. `grad_scale` divides the gradients first.
    """

    found_inf: Tensor | None
    grad_scale: Tensor | None
    _step_supports_amp_scaling = True

    def exempt(self, params: Iterable[nn.Parameter]) -> None:
        """Spare these parameters weight decay, and only these (norm layers and biases, as a rule)."""
        spared = {id(param) for param in params}
        for group in self.param_groups:
            group["decay"] = [id(param) not in spared for param in group["params"]]

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group; keys that it lacks (`lr`, `wd`, …) come from the constructor."""
        super().add_param_group(param_group)
        group = self.param_groups[-1]
        group.setdefault("decay", [True] * len(group["params"]))

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        for group in self.param_groups:  # a state dict of the plain torch optimizer lacks our keys
            group.setdefault("wd", self.defaults.get("wd", 0.0))
            group.setdefault("decouple_wd", self.defaults.get("decouple_wd", True))
            group.setdefault("decay", [True] * len(group["params"]))

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:  # type: ignore[override]
        """Decay, then update; returns what `closure` returned, if given."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        skip = getattr(self, "found_inf", None)
        if getattr(self, "grad_scale", None) is not None:
            self._unscale()
        for group in self.param_groups:
            if group["wd"]:
                _decay(group, skip)
        self._update(skip)
        return loss

    # torch would wrap this step again in profiling and hook code, a few microseconds that the torch step beneath
    # may repeat; the flag says that it is done.
    step.hooked = True  # type: ignore[attr-defined]

    def _update(self, skip: Tensor | None) -> None:
        """One step of the method itself; with `skip` = 1 nothing may change."""
        raise NotImplementedError

    def _unscale(self) -> None:
        grads = [param.grad for group in self.param_groups for param in group["params"] if param.grad is not None]
        if grads and self.grad_scale is not None:
            torch._foreach_mul_(grads, self.grad_scale.reciprocal().reshape(()).to(grads[0].device))
        self.grad_scale = None

    def _add_decay_defaults(self, wd: float, decouple_wd: bool) -> None:
        """After a torch constructor, which knows nothing of our keys."""
        self.defaults.update(wd=wd, decouple_wd=decouple_wd)
        for group in self.param_groups:
            group.setdefault("wd", wd)
            group.setdefault("decouple_wd", decouple_wd)


def _decay(group: dict[str, Any], skip: Tensor | None) -> None:
    params = [param for param, on in zip(group["params"], group["decay"], strict=True) if on and param.grad is not None]
    if not params:
        return
    if not group["decouple_wd"]:
        torch._foreach_add_([param.grad for param in params], params, alpha=group["wd"])
    elif skip is None:
        torch._foreach_mul_(params, 1 - group["lr"] * group["wd"])
    else:
        torch._foreach_mul_(params, 1 - group["lr"] * group["wd"] * (1 - skip.reshape(()).to(params[0].device)))


def undo_if(skip: Tensor, params: list[Tensor], state: Mapping[Tensor, Any], update: Callable[[], None]) -> None:
    """Run `update`, then put parameters and their optimizer state back if `skip` is 1, without the host knowing."""
    states = [state[param] for param in params]
    # A method that makes its state in this very update starts from zeros, so that is what it goes back to.
    before = [{key: value.clone() for key, value in now.items() if isinstance(value, Tensor)} for now in states]
    saved = [param.detach().clone() for param in params]
    update()
    old, new = list(saved), [param.detach() for param in params]
    for was, now in zip(before, states, strict=True):
        for key, value in now.items():
            if isinstance(value, Tensor):
                old.append(was[key] if key in was else torch.zeros_like(value))
                new.append(value)
    _restore(skip, old, new)


def _restore(skip: Tensor, old: list[Tensor], new: list[Tensor]) -> None:
    kinds: dict[tuple[torch.device, torch.dtype], tuple[list[Tensor], list[Tensor]]] = {}
    for was, now in zip(old, new, strict=True):
        olds, news = kinds.setdefault((now.device, now.dtype), ([], []))
        olds.append(was.reshape(-1))
        news.append(now)
    for (device, _), (olds, news) in kinds.items():  # one long vector a kind: a few kernels instead of one a tensor
        bad = skip.reshape(()).to(device) != 0
        chosen = torch.where(bad, torch.cat(olds), torch.cat([now.reshape(-1) for now in news]))
        parts = chosen.split([now.numel() for now in news])
        torch._foreach_copy_(news, [part.view(now.shape) for part, now in zip(parts, news, strict=True)])


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
        self._fused = _can_fuse(groups) if fused is None else fused
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
        self._fused = _can_fuse(groups) if fused is None else fused
        betas = (float(mom), float(sqr_mom))
        torch.optim.Adam.__init__(self, groups, lr=lr, betas=betas, eps=eps, fused=self._fused or None)
        self._add_decay_defaults(wd, decouple_wd)

    def _torch_step(self) -> None:
        _torch_adam_step(self)


AdamW = Adam


def as_groups(params: Any, lr: float) -> list[Any]:
    """`params` as torch takes them: tensors, dicts, or lists of tensors, each list a group. Checks `lr` on the way."""
    check_lr(lr)
    params = [params] if isinstance(params, Tensor) else list(params)
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
    return opt(as_groups(params, lr), lr=lr, **kwargs)


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
    optimizer = opt_func(
        [{"params": list(group), "lr": rate} for group, rate in zip(groups, rates, strict=True)], lr=rates[-1]
    )
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
