"""Trainings that go on where they were: after a kill, an interrupt, or a loss that was not finite."""

from __future__ import annotations

import contextlib
import functools
import inspect
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar

from fastlearn.callbacks.checkpoint import FOLDER, Checkpoint
from fastlearn.errors import CheckpointError, ConfigError, FastlearnError
from fastlearn.learner.identity import MACHINE, differences, identity_of
from fastlearn.options import checked_path
from fastlearn.runtime.say import say
from fastlearn.training import capture
from fastlearn.training.callback import Callback, as_callbacks
from fastlearn.training.calls import to_plain, typed
from fastlearn.training.checkpoint import fitting_weights, from_json
from fastlearn.training.state import Call, Position, Run, Start, TrainState

if TYPE_CHECKING:
    from fastlearn.learner.setup import LearnerSetup
    from fastlearn.training.runs import Manifest, RunCheckpoint

P = ParamSpec("P")
R = TypeVar("R")
Resume = bool | str | os.PathLike[str]
_NOT_ASKED = ("self", "cbs", "resume")  # arguments that do not say what is trained


def resumable(method: Callable[Concatenate[Any, P], None]) -> Callable[Concatenate[Any, P], None]:
    """A training method whose call its checkpoints remember, and that goes on from one with `resume=`.

    Calls of such methods inside it are parts of the same training.
    """
    signature = inspect.signature(method)

    @functools.wraps(method)
    def call(self: LearnerSetup, *args: P.args, **kwargs: P.kwargs) -> None:
        try:
            given = signature.bind(self, *args, **kwargs)
        except TypeError:  # the method itself says better what is wrong
            given = None
        if self._run is not None or given is None:
            return method(self, *args, **kwargs)
        given.apply_defaults()
        asked = {name: to_plain(value) for name, value in given.arguments.items() if name not in _NOT_ASKED}
        cbs, resume = as_callbacks(given.arguments.get("cbs")), given.arguments.get("resume", False)
        if "cbs" in given.arguments:
            given.arguments["cbs"] = cbs  # a class becomes one object, and not one each time that it is asked for
        self._run = Run(Call(method.__name__, asked), loaders=tuple(self.dls.loaders), began=self.global_step)
        self._resume = None
        try:
            if not goes_on(self, resume, cbs):
                method(*given.args, **given.kwargs)
                self._run.end_part(finished=True)
        finally:
            self._run = self._resume = None

    call.resumable = True  # type: ignore[attr-defined]
    return call


def training_method(learn: LearnerSetup, name: str) -> Callable[..., None]:
    """The training method of that name; CheckpointError for a name in a checkpoint that is none."""
    if not any(getattr(vars(cls).get(name), "resumable", False) for cls in type(learn).__mro__):
        raise CheckpointError(f"The checkpoint says that it is of a call of {name!r}, which is no method that trains.")
    method: Callable[..., None] = getattr(learn, name)
    return method


def goes_on(learn: LearnerSetup, resume: Any, cbs: list[Callback]) -> bool:
    """Prepare the learner to go on as `resume` says; True where the training was finished and nothing is left to do."""
    from fastlearn.training import runs

    run = learn._run
    assert run is not None
    learn._wants_checkpoints = resume is not False
    run.identity = functools.cache(lambda: identity_of(learn, [*learn.cbs, *cbs]))
    if learn._wants_checkpoints or any(isinstance(callback, Checkpoint) for callback in (*learn.cbs, *cbs)):
        run.identity()  # now, and not when callbacks have changed in the training
    if resume is False:
        return False
    saved = learn._given or _find(learn, resume, cbs)
    if saved is None:
        return False
    check_same(saved, run, learn._strict)
    if int(saved.state["step"]) < run.began:
        n_steps = run.began - int(saved.state["step"])
        say(f"Going back to {saved.path.name}: what the learner did since then, {n_steps} steps, is left out.")
    try:
        take_back(learn, saved, cbs, learn._strict)
    except FastlearnError:
        raise
    except (KeyError, TypeError, ValueError, AttributeError, IndexError, RuntimeError) as error:
        raise CheckpointError(
            f"The state in {saved.path} cannot be given back ({type(error).__name__}: {error}). Make the learner anew, "
            "and take an earlier checkpoint: learn.resume(path)."
        ) from error
    run.lr_scale *= learn._lr_scale
    if saved.manifest.finished:
        with contextlib.suppress(ConfigError), runs.owned(saved.path.parent):
            pass  # sweeps it, unless another training is writing there
        say(f"This training is finished ({saved.path.name}): the learner is as it was then, and nothing is left to do.")
    return saved.manifest.finished


def _find(learn: LearnerSetup, resume: Any, cbs: list[Callback]) -> RunCheckpoint | None:
    """The checkpoint that `resume` means; None where there is none yet.

    True is the newest whole one of the call that was begun at the learner's step, or, of the same call, of one that was
    begun earlier and is not finished: a cell that is run again after an interrupt. An unfinished training of another
    call is not passed over, as a new one would take its place.
    """
    from fastlearn.training import runs

    if resume is not True:
        return runs.find_run(Path(checked_path(resume, "resume")))
    folder, run = checkpoint_folder(learn, cbs), learn._run
    assert run is not None
    call, ended = typed(run.call), {one.run for one in runs.manifests(folder) if one.finished}
    saved = runs.newest_whole(folder, lambda one: one.call == call and one.began == run.began)
    if saved is None:
        earlier = functools.partial(_is_earlier, call=call, step=run.began, ended=ended)
        saved = runs.newest_whole(folder, earlier)
    if saved is None:
        newest = next((one for one in runs.manifests(folder) if one.run), None)
        if newest is not None and not newest.finished and newest.began >= run.began:
            if newest.call == call:
                raise CheckpointError(
                    f"{folder} holds an unfinished training of the same call that began when the learner had done "
                    f"{newest.began} steps, and it has done {run.began} now. Run again what came before it, so that it "
                    "goes on there; or go on with it now: learn.resume(); or begin anew: cbs=Checkpoint(folder=…)."
                )
            saved = runs.newest_whole(folder, lambda one: one.run == newest.run)
    if saved is None:
        say(f"There is no checkpoint of this training in {folder} yet: it starts at its beginning.")
    return saved


def _is_earlier(manifest: Manifest, call: str, step: int, ended: set[str]) -> bool:
    """Whether a checkpoint is of the same call, begun before `step`, in a training that was not finished."""
    return manifest.call == call and manifest.began < step and manifest.run not in ended


def checkpoint_folder(learn: LearnerSetup, cbs: Iterable[Callback]) -> Path:
    """Where the checkpoints of a training are."""
    ours = [callback for callback in (*learn.cbs, *cbs) if isinstance(callback, Checkpoint)]
    return next((one.folder for one in ours if one.folder is not None), learn.path / learn.model_dir / FOLDER)


def check_same(saved: RunCheckpoint, run: Run, strict: bool) -> None:
    """Refuse a checkpoint of another training; without `strict`, say what differs. The machine's part is only said."""
    capture.check_whole(saved.state, saved.path)
    then, now = from_json(saved.state["identity"]), run.identity()
    other = differences(then, now, lambda part: part != MACHINE)
    if saved.state["call"]["method"] and capture.call_of(saved.state) != run.call:
        other.insert(0, f"the call: {typed(capture.call_of(saved.state))}, now {typed(run.call)}")
    if other and strict:
        lacks = any(line.startswith("callbacks: ") for line in other)
        give = "Give the callbacks of the call again: cbs=[…]. " if lacks else ""
        if other[0].startswith("the call: "):
            give += "Trainings that begin at the same step need a folder each: cbs=Checkpoint(folder=…). "
        raise CheckpointError(
            f"The checkpoint {saved.path} is of another training. {_listed(other)}. {give}Make them equal again; or go "
            f"on all the same, as it was begun, with learn.resume({str(saved.path)!r}, strict=False); or begin anew in "
            "another folder: cbs=Checkpoint(folder=…)."
        )
    machine = differences(then, now, lambda part: part == MACHINE)
    if other:
        say(f"Going on all the same, with other bits than the training from before: {_listed(other)}.")
    if machine:
        say(f"The training began under other conditions, so its results may differ a little: {_listed(machine)}.")


def _listed(lines: list[str], most: int = 6) -> str:
    rest = f"; and {len(lines) - most} more" if len(lines) > most else ""
    return "; ".join(lines[:most]) + rest


def take_back(learn: LearnerSetup, saved: RunCheckpoint, cbs: list[Callback], strict: bool) -> None:
    """Give the learner all that is in a checkpoint but what a fit gives back itself when it goes on."""
    meta, tensors, run = saved.state, saved.tensors, learn._run
    weights = fitting_weights(learn.model, tensors, strict, saved.path)
    assert run is not None
    learn.model.load_state_dict(weights, strict=strict)
    capture.restore_unsaved(learn.model, tensors)
    frozen = set(meta["frozen"])
    for name, parameter in learn.model.named_parameters():
        parameter.requires_grad_(name not in frozen)
    learn.epoch, learn.global_step, learn.seed = int(meta["epoch"]), int(meta["step"]), int(meta["seed"])
    capture.restore_recorder(learn.recorder, tensors, meta)
    capture.set_generators(tensors, learn.device)
    for loader, state in zip(learn.dls.loaders, meta["loaders"], strict=False):
        capture.set_loader(loader, state)
    capture.take_notes(run, tensors, meta)
    position = capture.position_of(meta)
    if position.done:  # nothing of this part is left: what the next one, or the user, finds is given back now
        if learn.opt is None:
            learn.create_opt()
        assert learn.opt is not None
        capture.restore_optimizer(learn.opt, tensors, meta, strict)
        learn.precision.load_state_dict(from_json(meta["precision"]))
        capture.restore_callbacks([*learn.cbs, *cbs], tensors, meta, strict)
        tensors.clear()
    learn._resume = Resumption(position, tensors, meta, strict)


class Resumption:
    """A training that goes on: how far it was, and how each part of its call begins."""

    def __init__(self, position: Position, tensors: capture.Tensors, meta: dict[str, Any], strict: bool) -> None:
        self.position, self._tensors, self._meta, self._strict = position, tensors, meta, strict

    def has_done(self, part: int) -> bool:
        """Whether a part of the call had ended."""
        return part < self.position.part or (part == self.position.part and self.position.done)

    def start_of(self, part: int) -> Start | None:
        """Where in a part to go on; None at its beginning."""
        if part != self.position.part or self.position.done:
            return None
        return Start(self.position, self._restore)

    def _restore(self, state: TrainState) -> None:
        capture.restore_fit(state, self._tensors, self._meta, self._strict)
        self._tensors.clear()  # a second copy of weights and optimizer is in nobody's way during the training
