"""What fastlearn's optimizers share: decoupled weight decay, and steps that a device tensor can call off."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

# torch's methods without the wrapper that keeps its compiler away: on its first call that imports the compiler itself,
# two seconds before the first batch.
_add_param_group = inspect.unwrap(Optimizer.add_param_group)
_state_dict = inspect.unwrap(Optimizer.state_dict)
_load_state_dict = inspect.unwrap(Optimizer.load_state_dict)


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
        _add_param_group(self, param_group)
        group = self.param_groups[-1]
        group.setdefault("decay", [True] * len(group["params"]))

    def state_dict(self) -> dict[str, Any]:
        """As torch's."""
        return _state_dict(self)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:  # type: ignore[override]
        """As torch's."""
        _load_state_dict(self, state_dict)

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
