"""Optimizers that torch lacks, or whose formula differs there, each as a handful of foreach calls."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from fastlearn.options import checked_number, named_options
from fastlearn.training.decay import DecoupledDecay, undo_if
from fastlearn.training.optimizer import as_groups, check_hypers, check_wd

Group = dict[str, Any]
Tensors = list[Tensor]
Count = int | Tensor  # a number, or a 0-dim tensor on the device once steps may have been skipped there


class Foreach(DecoupledDecay):
    """The common half: which parameters step, their state, and their step counts.

    A subclass names its state tensors in `buffers` and writes `advance`. State: `step` (an int: updates tried), the
    buffers (like the parameter), and, only once `found_inf` has been used, `skipped` (0-dim, on the device).
    """

    buffers: tuple[str, ...] = ()

    def __init__(self, params: Any, lr: float, wd: float, decouple_wd: bool, **hypers: Any) -> None:
        check_wd(wd)
        defaults = {"lr": lr, **hypers, "wd": wd or 0.0, "decouple_wd": decouple_wd}
        super().__init__(as_groups(params, lr), defaults)

    def advance(self, group: Group, params: Tensors, grads: Tensors, buffers: list[Tensors], count: Count) -> None:
        """Update `params` and `buffers` in place; this is their update number `count`, from 1."""
        raise NotImplementedError

    def _update(self, skip: Tensor | None) -> None:
        for group in self.param_groups:
            for params in self._by_count(group, skip).values():
                self._advance(group, params, skip)

    def _by_count(self, group: Group, skip: Tensor | None) -> dict[int, list[Tensor]]:
        """Parameters with a gradient, by the number of the update that they are about to get."""
        counts: dict[int, list[Tensor]] = {}
        for param in group["params"]:
            if param.grad is None:
                continue
            state = self.state[param]
            if "step" not in state:
                state["step"] = 0
                for name in self.buffers:
                    state[name] = torch.zeros_like(param, memory_format=torch.preserve_format)
            if skip is not None and "skipped" not in state:
                state["skipped"] = torch.zeros((), device=param.device)
            state["step"] += 1
            counts.setdefault(state["step"], []).append(param)
        return counts

    def _advance(self, group: Group, params: list[Tensor], skip: Tensor | None) -> None:
        states = [self.state[param] for param in params]
        grads = [param.grad for param in params if param.grad is not None]
        buffers = [[state[name] for state in states] for name in self.buffers]
        count: Count = states[0]["step"]
        skipped = [state["skipped"] for state in states if "skipped" in state]
        if skipped:
            count = (count - skipped[0]).clamp(min=1)
        if skip is None:
            self.advance(group, params, grads, buffers, count)
            return
        undo_if(skip, params, self.state, lambda: self.advance(group, params, grads, buffers, count))
        torch._foreach_add_(skipped, skip.reshape(()).to(skipped[0].device))


def _moments(group: Group, grads: Tensors, avg: Tensors, sqr: Tensors, count: Count) -> tuple[Any, Any]:
    """Advance both running means in place and give their bias corrections 1 - βᵗ."""
    mom, sqr_mom = group["betas"]
    torch._foreach_lerp_(avg, grads, 1 - mom)
    torch._foreach_mul_(sqr, sqr_mom)
    torch._foreach_addcmul_(sqr, grads, grads, 1 - sqr_mom)
    return 1 - mom**count, 1 - sqr_mom**count


def _sqrt(x: Any) -> Any:
    return x.sqrt() if isinstance(x, Tensor) else math.sqrt(x)


def _roots(sqr: Tensors, correction: Any, eps: float) -> list[Tensor]:
    """√(sqr / correction) + eps."""
    roots = torch._foreach_sqrt(sqr)
    torch._foreach_div_(roots, _sqrt(correction))
    torch._foreach_add_(roots, eps)
    return list(roots)


class RAdam(Foreach):
    """Adam whose adaptive step waits until its variance is known (Liu et al. 2020, algorithm 2).

    While ρₜ ≤ 5 it is momentum alone. eps is added after the bias correction. `beta > 0` passes the denominator through
    a softplus of that sharpness (Calibrated Adam, Tong et al. 2019).
    """

    buffers = ("exp_avg", "exp_avg_sq")

    @named_options
    def __init__(
        self,
        params: Any,
        lr: float = 1e-3,
        mom: float = 0.9,
        sqr_mom: float = 0.99,
        eps: float = 1e-5,
        wd: float = 0.0,
        beta: float = 0.0,
        decouple_wd: bool = True,
    ) -> None:
        check_hypers(eps=eps, mom=mom, sqr_mom=sqr_mom)
        checked_number(beta, "beta", 50)
        super().__init__(params, lr, wd, decouple_wd, betas=(mom, sqr_mom), eps=eps, beta=beta)

    def advance(self, group: Group, params: Tensors, grads: Tensors, buffers: list[Tensors], count: Count) -> None:
        avg, sqr = buffers
        debias, sqr_debias = _moments(group, grads, avg, sqr, count)
        ready, factor = _rectify(count, group["betas"][1])
        if isinstance(ready, bool) and not ready:
            torch._foreach_add_(params, avg, alpha=-group["lr"] / debias)
            return
        roots = _roots(sqr, sqr_debias, group["eps"])
        if group["beta"]:
            roots = [nn.functional.softplus(root, group["beta"]) for root in roots]
        if isinstance(ready, Tensor):  # whether it is ready is known on the device only: then divide by 1 instead
            torch._foreach_mul_(roots, ready)
            torch._foreach_add_(roots, 1 - ready)
        torch._foreach_mul_(roots, debias / (group["lr"] * factor))
        torch._foreach_addcdiv_(params, avg, roots, -1.0)


def _rectify(count: Count, sqr_mom: float) -> tuple[Any, Any]:
    """(ρₜ > 5, the factor rₜ, or 1 before): a bool and a float, or two tensors of the count's device."""
    last = 2 / (1 - sqr_mom) - 1
    power = sqr_mom**count
    rho = last - 2 * count * power / (1 - power)
    known = rho.clamp(min=5.0) if isinstance(rho, Tensor) else max(rho, 5.0)
    factor = _sqrt((known - 4) * (known - 2) * last / ((last - 4) * (last - 2) * known))
    if isinstance(rho, Tensor):
        return (rho > 5).to(rho.dtype), torch.where(rho > 5, factor, 1.0)
    return rho > 5, factor if rho > 5 else 1.0


class QHAdam(Foreach):
    """Quasi-hyperbolic Adam (Ma & Yarats 2019): Adam's means mixed with the gradient itself, by nu_1 and nu_2."""

    buffers = ("exp_avg", "exp_avg_sq")

    @named_options
    def __init__(
        self,
        params: Any,
        lr: float = 1e-3,
        mom: float = 0.999,
        sqr_mom: float = 0.999,
        nu_1: float = 0.7,
        nu_2: float = 1.0,
        eps: float = 1e-8,
        wd: float = 0.0,
        decouple_wd: bool = True,
    ) -> None:
        check_hypers(eps=eps, mom=mom, sqr_mom=sqr_mom)
        checked_number(nu_1, "nu_1", 0.7)
        checked_number(nu_2, "nu_2", 1)
        super().__init__(params, lr, wd, decouple_wd, betas=(mom, sqr_mom), nus=(nu_1, nu_2), eps=eps)

    def advance(self, group: Group, params: Tensors, grads: Tensors, buffers: list[Tensors], count: Count) -> None:
        avg, sqr = buffers
        nu_1, nu_2 = group["nus"]
        debias, sqr_debias = _moments(group, grads, avg, sqr, count)
        upper = torch._foreach_mul(avg, nu_1 / debias)
        torch._foreach_add_(upper, grads, alpha=1 - nu_1)
        lower = torch._foreach_mul(sqr, nu_2 / sqr_debias)
        if nu_2 != 1:
            torch._foreach_addcmul_(lower, grads, grads, 1 - nu_2)
        torch._foreach_addcdiv_(params, upper, _roots(list(lower), 1.0, group["eps"]), -group["lr"])


class RMSProp(Foreach):
    """The gradient over the root of its running mean square (Hinton's lecture 6e, 2012), without bias correction.

    With `mom` the numerator is an undampened running sum of gradients; torch's RMSprop sums the quotients instead.
    """

    buffers: tuple[str, ...] = ("square_avg", "momentum_buffer")

    @named_options
    def __init__(
        self,
        params: Any,
        lr: float = 1e-3,
        mom: float = 0.0,
        sqr_mom: float = 0.99,
        eps: float = 1e-8,
        wd: float = 0.0,
        decouple_wd: bool = True,
    ) -> None:
        check_hypers(eps=eps, mom=mom, sqr_mom=sqr_mom)
        self.buffers = RMSProp.buffers if mom else RMSProp.buffers[:1]
        super().__init__(params, lr, wd, decouple_wd, momentum=mom, sqr_mom=sqr_mom, eps=eps)

    def advance(self, group: Group, params: Tensors, grads: Tensors, buffers: list[Tensors], count: Count) -> None:
        sqr = buffers[0]
        torch._foreach_mul_(sqr, group["sqr_mom"])
        torch._foreach_addcmul_(sqr, grads, grads, 1 - group["sqr_mom"])
        upper = _momentum(group, grads, buffers[1]) if len(buffers) > 1 else grads
        torch._foreach_addcdiv_(params, upper, _roots(sqr, 1.0, group["eps"]), -group["lr"])


def _momentum(group: Group, grads: Tensors, sums: Tensors) -> Tensors:
    torch._foreach_mul_(sums, group["momentum"])
    torch._foreach_add_(sums, grads)
    return sums


class Larc(Foreach):
    """SGD with a rate for each tensor, in proportion to |p| / |grad| (You, Gitman & Ginsburg 2017, equation 6).

    `clip=True` never goes above `lr` (LARC); False is LARS. A tensor of zeros, such as a fresh bias, gets the plain
    rate: by the formula alone (and in fast.ai) it would stay zero for ever.
    """

    buffers = ("momentum_buffer",)

    @named_options
    def __init__(
        self,
        params: Any,
        lr: float = 1e-3,
        mom: float = 0.9,
        clip: bool = True,
        trust_coeff: float = 0.02,
        eps: float = 1e-8,
        wd: float = 0.0,
        decouple_wd: bool = True,
    ) -> None:
        check_hypers(eps=eps, mom=mom)
        checked_number(trust_coeff, "trust_coeff", 0.02)
        super().__init__(params, lr, wd, decouple_wd, momentum=mom, clip=clip, trust_coeff=trust_coeff, eps=eps)

    def advance(self, group: Group, params: Tensors, grads: Tensors, buffers: list[Tensors], count: Count) -> None:
        sums = _momentum(group, grads, buffers[0])
        weights, slopes = _norms(params), _norms(grads)
        trust = group["trust_coeff"] * weights / (slopes + group["wd"] * weights + group["eps"])
        if group["clip"]:
            trust = trust.clamp(max=1.0)
        trust = torch.where((weights == 0) | (slopes == 0), 1.0, trust)
        torch._foreach_add_(params, _scaled(sums, trust), alpha=-group["lr"])


class Lamb(Foreach):
    """Adam's step, scaled for each tensor to min(|p| / |step|, 10) of its length (You et al. 2020, algorithm 2).

    The decay is decoupled and so outside the ratio. A tensor of zeros takes Adam's step as it is.
    """

    buffers = ("exp_avg", "exp_avg_sq")

    @named_options
    def __init__(
        self,
        params: Any,
        lr: float = 1e-3,
        mom: float = 0.9,
        sqr_mom: float = 0.99,
        eps: float = 1e-5,
        wd: float = 0.0,
        decouple_wd: bool = True,
    ) -> None:
        check_hypers(eps=eps, mom=mom, sqr_mom=sqr_mom)
        super().__init__(params, lr, wd, decouple_wd, betas=(mom, sqr_mom), eps=eps)

    def advance(self, group: Group, params: Tensors, grads: Tensors, buffers: list[Tensors], count: Count) -> None:
        avg, sqr = buffers
        debias, sqr_debias = _moments(group, grads, avg, sqr, count)
        steps = list(torch._foreach_div(avg, _roots(sqr, sqr_debias, group["eps"])))
        torch._foreach_div_(steps, debias)
        weights, lengths = _norms(params), _norms(steps)
        trust = torch.where((weights == 0) | (lengths == 0), 1.0, (weights / lengths).clamp(max=10.0))
        torch._foreach_add_(params, _scaled(steps, trust), alpha=-group["lr"])


def _norms(tensors: Tensors) -> Tensor:
    """The length of each tensor, as one vector (tensor,)."""
    return torch.stack(list(torch._foreach_norm(tensors)))


def _scaled(tensors: Tensors, factors: Tensor) -> list[Tensor]:
    return list(torch._foreach_mul(tensors, list(factors.to(tensors[0].dtype).unbind())))
