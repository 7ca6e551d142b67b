"""Steering a training while it runs: stop, pause, another learning rate; each noted so that it can be replayed."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from fastlearn.errors import ConfigError
from fastlearn.training.hypers import get_hypers, set_hypers

if TYPE_CHECKING:
    from fastlearn.training.state import TrainState

Deed = Literal["stop", "skip_validation", "pause", "resume", "lr"]
Wish = Deed | Literal["lr_factor"]
_LOWEST, _HIGHEST = 1e-20, 1e3  # beyond them a slip of the finger would ruin the weights, or find no way back
_NO_PAUSE = "The training is stopping already, so there is nothing to pause."


@dataclass(frozen=True)
class Intervention:
    """One thing that was done to a training by hand.

    `step` counts the training steps of the learner's life that were done before it. For `what="lr"`, `old` and `new`
    are learning rates of the last group of layers, and `factor` is what the rest of the schedule is multiplied by.
    For `what="skip_validation"`, `new` is the number of batches that had been validated.
    """

    step: int
    what: Deed
    old: float | None = None
    new: float | None = None
    factor: float = 1.0


class Steering:
    """Wishes that may come from any thread, carried out by the training's own thread between two batches.

    `ask_*` only put a wish in a queue. `before_batch` and `act` are called by the callback that owns this object.
    """

    def __init__(self) -> None:
        self.scale, self.paused = 1.0, False
        self._wishes: deque[tuple[Wish, float]] = deque()
        self._refusals: list[str] = []
        self._unscheduled: list[float] | None = None

    @property
    def has_wishes(self) -> bool:
        """True while something waits to be carried out."""
        return bool(self._wishes)

    def ask(self, what: Deed) -> None:
        """Wish to stop, skip the rest of the validation, pause or resume."""
        self._wishes.append((what, math.nan))

    def ask_lr_factor(self, factor: Any) -> None:
        """Wish the rest of the schedule multiplied by `factor`; ConfigError unless it is a number above 0."""
        self._wishes.append(("lr_factor", _positive(factor, "The factor of the learning rate")))

    def ask_lr(self, lr: Any) -> None:
        """Wish `lr` for the last group of layers now, and the rest of the schedule scaled alike; text is read."""
        self._wishes.append(("lr", _positive(lr, "The learning rate")))

    def begin(self, state: TrainState) -> None:
        """A fit begins: running, with no wish left from the one before, and unscaled unless it resumes one."""
        self.paused = False
        if not state.goes_on:
            self.scale = 1.0
        self._wishes.clear()
        self._refusals.clear()
        # Without a schedule nobody sets the rate anew, and ours would be multiplied again and again.
        self._unscheduled = None if state.plan.schedule is not None else get_hypers(state.optimizer)["lr"]

    def end(self, state: TrainState) -> None:
        """The fit is over; a rate that no schedule sets goes back to what it was."""
        if self._unscheduled is not None:
            set_hypers(state.optimizer, lr=self._unscheduled)
        self._unscheduled = None

    def state_dict(self) -> dict[str, Any]:
        """What a training that is resumed must know of what was done to it by hand."""
        return {} if self.scale == 1.0 else {"scale": self.scale}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take back what `state_dict` said."""
        self.scale = float(state.get("scale", 1.0))

    def before_batch(self, state: TrainState) -> None:
        """Scale the rate that the schedule has just set."""
        if self.scale != 1.0 and state.training:
            rates = get_hypers(state.optimizer)["lr"] if self._unscheduled is None else self._unscheduled
            set_hypers(state.optimizer, lr=[rate * self.scale for rate in rates])

    def act(self, state: TrainState) -> list[Intervention]:
        """Carry out the wishes that are waiting, after a batch of either phase; returns and records what was done."""
        done: list[Intervention] = []
        while self._wishes:
            what, number = self._wishes.popleft()
            one = self._carry_out(state, what, number)
            if one is not None:
                done.append(one)
                state.recorder.interventions.append(one)
        return done

    def take_refusals(self) -> list[str]:
        """A sentence for each wish since the last call that was sound in itself and could not be carried out."""
        refusals, self._refusals = self._refusals, []
        return refusals

    def _carry_out(self, state: TrainState, what: Wish, number: float) -> Intervention | None:
        """None when there is nothing to do: a second click on Stop, say."""
        step = _steps_done(state)
        if what == "lr" or what == "lr_factor":
            old = get_hypers(state.optimizer)["lr"][-1]
            new = number * old if what == "lr_factor" else number
            if not (old > 0 and _LOWEST <= new <= _HIGHEST):
                self._refusals.append(_refusal(old, new))
                return None
            factor = number if what == "lr_factor" else number / old
            self._scale_by(factor, state)
            return Intervention(step, "lr", old, old * factor, factor)
        if what == "stop":
            if state.stop_story:
                return None
            state.request_stop(story=True)
            self.paused = False
        elif what == "skip_validation":
            if state.training or state.skip_validation:
                return None
            state.request_skip_validation()
            return Intervention(step, what, None, float(state.batch_index + 1))
        else:
            wanted = what == "pause"
            if self.paused == wanted:
                return None
            if wanted and state.stop:
                self._refusals.append(_NO_PAUSE)
                return None
            self.paused = wanted
        return Intervention(step, what)

    def _scale_by(self, factor: float, state: TrainState) -> None:
        self.scale *= factor
        # At once, for the next wish may come before the next batch.
        set_hypers(state.optimizer, lr=[rate * factor for rate in get_hypers(state.optimizer)["lr"]])

    def replay(self, interventions: list[Intervention], state: TrainState) -> list[Intervention]:
        """Carry out those of `interventions` whose turn has come, with the same factors; returns the rest.

        A pause changes nothing in the result and is left out.
        """
        rest: list[Intervention] = []
        for one in interventions:
            if not _is_due(one, state):
                rest.append(one)
            elif one.what == "lr":
                old = get_hypers(state.optimizer)["lr"][-1]
                self._scale_by(one.factor, state)
                state.recorder.interventions.append(Intervention(one.step, "lr", old, old * one.factor, one.factor))
            elif one.what in ("stop", "skip_validation"):
                again = self._carry_out(state, one.what, math.nan)
                state.recorder.interventions += [again] if again is not None else []
        return rest


def _steps_done(state: TrainState) -> int:
    """Training steps finished in the learner's life; the loop counts a batch only after its callbacks."""
    return state.step + 1 if state.training else state.step


def _is_due(one: Intervention, state: TrainState) -> bool:
    if one.what == "skip_validation":
        return not state.training and one.step <= state.step and state.batch_index + 1 >= (one.new or 1)
    return one.step <= _steps_done(state)


def _refusal(old: float, new: float) -> str:
    if old > 0:
        return f"Take a learning rate from {_LOWEST:g} to {_HIGHEST:g}; {new:.3g} was ignored, and {old:.3g} stays."
    return "The schedule's rate is 0 at this step, and cannot be scaled; try again a little later."


def _positive(number: Any, what: str) -> float:
    try:
        value = math.nan if isinstance(number, bool) else float(number)
    except (TypeError, ValueError, OverflowError):
        value = math.nan
    if not (math.isfinite(value) and value > 0):
        found = repr(number)
        found = found if len(found) <= 40 else f"{found[:40]}…"
        raise ConfigError(f"{what} must be a number above 0, such as 3e-4; {found} was ignored.")
    return value
