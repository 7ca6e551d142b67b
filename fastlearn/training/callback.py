"""Callbacks: a fixed set of events, each a method that takes the training state and does nothing by default."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from fastlearn.errors import ConfigError, UnknownNameError, near, no_attribute

if TYPE_CHECKING:
    from fastlearn.training.state import TrainState

EVENTS = (
    "before_fit",
    "before_epoch",
    "before_batch",
    "after_backward",
    "after_step",
    "after_batch",
    "after_validate",
    "after_epoch",
    "after_fit",
    "on_exception",
)

# fast.ai's events that have another name, or another way, here.
_FASTAI_EVENTS = {
    "after_create": "__init__(self)",
    "begin_fit": "before_fit(self, state)",
    "begin_epoch": "before_epoch(self, state)",
    "begin_train": "before_epoch(self, state)",
    "begin_batch": "before_batch(self, state)",
    "begin_validate": "before_batch(self, state) with `if not state.training:`",
    "before_train": "before_epoch(self, state)",
    "after_train": "after_epoch(self, state), or after_validate(self, state) once the metrics are there",
    "before_validate": "before_batch(self, state) with `if not state.training:`",
    "after_pred": "after_batch(self, state), where state.outputs is set",
    "after_loss": "after_batch(self, state), where state.loss is set",
    "before_backward": "learn.step = my_step, a function of the state that owns forward, backward and optimizer step",
    "before_step": "after_backward(self, state)",
    "after_cancel_batch": "after_batch(self, state)",
    "after_cancel_train": "after_epoch(self, state)",
    "after_cancel_validate": "after_validate(self, state)",
    "after_cancel_epoch": "after_epoch(self, state)",
    "after_cancel_step": "after_batch(self, state)",
    "after_cancel_backward": "after_batch(self, state)",
    "after_cancel_fit": "after_fit(self, state)",
}


# What fast.ai's callbacks read of themselves, and where it is here.
_FASTAI_ATTRIBUTES = {
    "learn": "state.model, state.optimizer, state.plan…; the learner itself: give it to your __init__",
    "learner": "state.model, state.optimizer, state.plan…; the learner itself: give it to your __init__",
    "x": "state.inputs[0]",
    "y": "state.targets[0]",
    "xb": "state.inputs",
    "yb": "state.targets",
    "pred": "state.outputs",
    "preds": "state.outputs",
    "loss": "state.loss",
    "loss_grad": "state.loss",
    "loss_func": "state.loss_func",
    "model": "state.model",
    "opt": "state.optimizer",
    "recorder": "state.recorder",
    "dls": "state.plan.train and state.plan.valid",
    "dl": "state.plan.train, or state.plan.valid with `if not state.training`",
    "training": "state.training",
    "epoch": "state.fit_epoch (state.epoch counts over the learner's life)",
    "n_epoch": "state.plan.n_epochs",
    "iter": "state.batch_index",
    "n_iter": "state.n_batches",
    "train_iter": "state.fit_step",
    "pct_train": "state.fit_step / state.plan.n_steps",
}


def _check_event(cls: type, name: str, method: Callable[..., Any]) -> None:
    where = f"{cls.__name__}.{name}"
    if name in _FASTAI_EVENTS:
        raise ConfigError(f"{where} is an event of fast.ai. Here write: {_FASTAI_EVENTS[name]}.")
    if name in EVENTS:
        parameters = list(inspect.signature(method).parameters)
        if len(parameters) < 2:
            raise ConfigError(
                f"{where}() takes no state. Here every event is given it: write `def {name}(self, state):` and read "
                "state.loss, state.model, state.inputs… where fast.ai has self.loss, self.model, self.xb."
            )
        if not _takes_state(method):
            raise ConfigError(
                f"{where}({', '.join(parameters)}) would be called with the state alone. Write `def {name}(self, "
                "state):`; what else it needs is in the state, or is given to the callback's __init__."
            )
    elif name.startswith(("before_", "after_", "on_", "begin_")):
        raise ConfigError(
            f"{where} is no event, so it would never be called.{near(name, EVENTS)} The events are: "
            f"{', '.join(EVENTS)}. (A helper of your own? Start its name with an underscore.)"
        )


def _takes_state(method: Callable[..., Any]) -> bool:
    try:
        inspect.signature(method).bind("self", "state")
    except TypeError:
        return False
    return True


class Callback:
    """Something that watches or changes a training: override the events that you need.

    Every event takes the `TrainState`. Callbacks run by `order`, low first, and otherwise as they were given.
    `in_lr_find` says whether the callback changes the training itself, and so takes part in `lr_find` too.
    `needs_inputs` says whether it needs the model's inputs (the pictures) in each batch, which a head that is trained
    on kept features does without (see `fit_head`); None: if it has a `before_batch`, which may replace them.

    >>> class Shout(Callback):
    ...     def after_epoch(self, state):
    ...         print(f"epoch {state.epoch} done")
    """

    order: int = 0
    in_lr_find: bool = False
    needs_inputs: bool | None = None

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        for name, method in vars(cls).items():
            if inspect.isfunction(method) and not name.startswith("_"):
                _check_event(cls, name, method)

    def before_fit(self, state: TrainState) -> None:
        """Before the first epoch; the optimizer and the schedule are ready."""

    def before_epoch(self, state: TrainState) -> None:
        """Before the first batch of a training epoch."""

    def before_batch(self, state: TrainState) -> None:
        """The batch is on the device, in training or validation; `state.inputs` and `state.targets` may be replaced."""

    def after_backward(self, state: TrainState) -> None:
        """The gradients are there (scaled, under fp16, until `state.precision.unscale`)."""

    def after_step(self, state: TrainState) -> None:
        """The optimizer has stepped; not called for a batch that only accumulates gradients."""

    def after_batch(self, state: TrainState) -> None:
        """A batch is done, in training and in validation; `state.outputs` and `state.loss` are set."""

    def after_validate(self, state: TrainState) -> None:
        """The epoch's validation is done; `state.values` holds its loss and metrics by name."""

    def after_epoch(self, state: TrainState) -> None:
        """The epoch is done and recorded, with or without a validation set."""

    def after_fit(self, state: TrainState) -> None:
        """The fit is over; called after an error or an interrupt too."""

    def on_exception(self, state: TrainState) -> None:
        """An error or an interrupt ends the fit; `state.error` is it, and it will be raised again."""

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint must hold for this callback to go on exactly."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take back what `state_dict` said."""

    if not TYPE_CHECKING:  # a type checker, and completion, shall know the real names only

        def __getattr__(self, name: str) -> Any:
            """Only for names that this callback does not have: where the state has it, or the nearest."""
            if name in _FASTAI_ATTRIBUTES and not hasattr(type(self), name):
                raise UnknownNameError(
                    f"A callback has no {name!r}: what fast.ai reads as self.{name} is in the state that every event "
                    f"is given. Here write: {_FASTAI_ATTRIBUTES[name]}."
                )
            raise no_attribute(self, name)

    def __repr__(self) -> str:
        return type(self).__name__


class FunctionCallback(Callback):
    """One function called at one event, at every `every`-th time."""

    def __init__(self, event: str, function: Callable[[TrainState], None], every: int = 1) -> None:
        if event not in EVENTS:
            raise ConfigError(f"There is no event {event!r}.{near(event, EVENTS)} The events are: {', '.join(EVENTS)}.")
        if not isinstance(every, int) or isinstance(every, bool) or every < 1:
            raise ConfigError(f"every={every!r} never comes; give a whole number from 1.")
        self.event, self.function, self.every, self.count = event, function, every, 0

    def call(self, state: TrainState) -> None:
        """Count the event and call the function when it is its turn."""
        self.count += 1
        if self.count % self.every == 0:
            self.function(state)

    def state_dict(self) -> dict[str, Any]:
        return {"count": self.count}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.count = int(state["count"])

    def __repr__(self) -> str:
        return f"on({self.event!r}, {getattr(self.function, '__name__', self.function)})"


class Events:
    """The overridden event methods of some callbacks, looked up and ordered once, so that a step only calls them."""

    def __init__(self, callbacks: Iterable[Callback]) -> None:
        ordered = sorted(callbacks, key=lambda callback: callback.order)
        self.callbacks = tuple(ordered)
        self.before_fit = _bound(ordered, "before_fit")
        self.before_epoch = _bound(ordered, "before_epoch")
        self.before_batch = _bound(ordered, "before_batch")
        self.after_backward = _bound(ordered, "after_backward")
        self.after_step = _bound(ordered, "after_step")
        self.after_batch = _bound(ordered, "after_batch")
        self.after_validate = _bound(ordered, "after_validate")
        self.after_epoch = _bound(ordered, "after_epoch")
        self.after_fit = _bound(ordered, "after_fit")
        self.on_exception = _bound(ordered, "on_exception")


EventMethods = tuple["Callable[[TrainState], None]", ...]


def _bound(callbacks: list[Callback], event: str) -> EventMethods:
    methods: list[Callable[[TrainState], None]] = []
    for callback in callbacks:
        if isinstance(callback, FunctionCallback):
            if callback.event == event:
                methods.append(callback.call)
        elif getattr(type(callback), event) is not getattr(Callback, event):
            methods.append(getattr(callback, event))
    return tuple(methods)


def as_callbacks(cbs: Any) -> list[Callback]:
    """A list of callback objects from None, one callback, a class, or any nesting of lists of them."""
    if cbs is None:
        return []
    if isinstance(cbs, Callback):
        return [cbs]
    if isinstance(cbs, type) and issubclass(cbs, Callback):
        return [cbs()]
    if isinstance(cbs, (list, tuple, set)):
        return [callback for part in cbs for callback in as_callbacks(part)]
    raise ConfigError(
        f"cbs takes callbacks, not {cbs!r}. Subclass fastlearn's Callback, or write a function under "
        '@learn.on("after_epoch").'
    )
