"""`ImageClassifierCleaner`: the pictures that a model gets most wrong, to be kept, deleted or given another class."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from fastlearn.callbacks.progress import in_notebook
from fastlearn.errors import ConfigError, MissingExtraError, near
from fastlearn.lists import L
from fastlearn.paths import Path, printable
from fastlearn.vision.cleaner_journal import Journal
from fastlearn.vision.cleaner_losses import SPLITS, Judged, OnBatch, SplitLosses
from fastlearn.vision.cleaner_moves import TRASH, Undone, carry_out, find_last, new_trash, undo
from fastlearn.vision.cleaner_plan import (
    DELETE,
    KEEP,
    Choice,
    data_root,
    place_of_class,
    refuse_unmovable,
    step_of,
)

if TYPE_CHECKING:
    import pandas as pd

    from fastlearn.learner import Learner
    from fastlearn.vision.cleaner_widget import CleanerWidget

Only = Literal["delete", "relabel"]


@dataclass(frozen=True)
class Applied:
    """What an apply did; `gone` were not there any more, `trash` holds the deleted files and the journal."""

    deleted: tuple[Path, ...] = ()
    relabelled: tuple[tuple[Path, Path], ...] = ()
    gone: tuple[Path, ...] = ()
    trash: Path | None = None

    def __repr__(self) -> str:
        if self.trash is None:
            return "Nothing was chosen, so nothing was moved."
        text = f"{len(self.deleted)} deleted, {len(self.relabelled)} relabelled"
        text += f", {len(self.gone)} not there any more" if self.gone else ""
        return (
            f"{text}. The deleted files and the journal are in {printable(self.trash)}; cleaner.undo() takes it back. "
            "Make the DataLoaders anew before you train again: these still list the old files."
        )


class ImageClassifierCleaner:
    """The pictures of a class and a split with the highest losses, each to be kept, deleted or given another class.

    As the last line of a notebook cell it is a widget; without one, `show`, `choose` and `choices` do the same.
    Choices are kept when another class or split is looked at, and no file is touched before `apply()`, which `undo()`
    takes back. `opts` are classes to choose from besides the vocabulary's, `max_n` is how many pictures of a class are
    looked at. Losses are those of `ClassificationInterpretation`: without augmentation, each split computed once.

    Raises ConfigError unless the learner classifies pictures that are files, one class each.

    >>> cleaner = ImageClassifierCleaner(learn)
    >>> cleaner
    >>> cleaner.apply()
    """

    def __init__(self, learn: Learner, opts: Iterable[str] = (), max_n: int = 30) -> None:
        _check(learn, max_n)
        vocab = list(learn.dls.vocab)
        extra = [opts] if isinstance(opts, str) else list(opts)
        self.learn, self.max_n = learn, int(max_n)
        self.classes: dict[str, Any] = {str(name): name for name in [*vocab, *extra]}
        self.vocab = [str(name) for name in vocab]
        if bad := {KEEP, DELETE} & set(self.classes):
            raise ConfigError(f"A class cannot be called {bad.pop()!r} here: that is what to do with a picture.")
        self.splits = SPLITS[: len(learn.dls)]
        self.cls, self.split = self.vocab[0], self.splits[-1]  # validation first: the quicker of the two
        self._losses: dict[str, SplitLosses] = {}
        self._choices: dict[str, Choice] = {}  # by absolute path, so that a file in both splits has one choice
        self._moved: dict[str, Choice] = {}
        self._applied: list[Journal] = []
        self._face: CleanerWidget | None = None

    # Looking

    def look(self, cls: Any = None, split: str | None = None, on_batch: OnBatch | None = None) -> list[Judged]:
        """The pictures of a class and a split, the highest loss first; both stay chosen for the next call."""
        cls, split = self._named(cls), self.split if split is None else split
        if split not in self.splits:
            raise ConfigError(f"There is no split {split!r}.{near(split, self.splits)} Choose from {self.splits}.")
        if split not in self._losses:
            if on_batch is None and self._face is not None:
                on_batch = self._face.watch(split)
            self._losses[split] = SplitLosses.of(self.learn, self.splits.index(split), on_batch)
        self.cls, self.split = cls, split
        return self._top(cls, split)

    def show(self, cls: Any = None, split: str | None = None) -> pd.DataFrame:
        """What `look` gives as a table, with the choices made; a widget on the page turns to it too.

        >>> cleaner.show("daisy", "train")
        """
        import pandas as pd

        rows = [
            {
                "file": self.short(one.file),
                "predicted": one.predicted,
                "probability": one.probability,
                "loss": one.loss,
                "choice": self.choice_of(one.file),
            }
            for one in self.look(cls, split)
        ]
        self._tell()
        return pd.DataFrame(rows, columns=["file", "predicted", "probability", "loss", "choice"])

    @property
    def fns(self) -> L[Path]:
        """The files of the class and split looked at, the highest loss first."""
        return L([one.file for one in self.look()])

    @property
    def known(self) -> tuple[str, ...]:
        """The splits whose losses were computed."""
        return tuple(self._losses)

    def n_shown_of(self) -> int:
        """How many pictures the class and split looked at have."""
        gone = sum((one.label, one.split) == (self.cls, self.split) for one in self._moved.values())
        return len(self._losses[self.split].highest(self.vocab.index(self.cls))) - gone

    def short(self, file: Path) -> str:
        """A file's name as a table shows it: below the folder of the data."""
        root = os.path.abspath(self.learn.dls.path)
        return os.path.relpath(file, root) if Path(os.path.abspath(file)).is_relative_to(root) else str(file)

    def judged(self, index: int, split: str) -> Judged:
        """One picture of a split that was looked at."""
        return self._losses[split].judged(index, split, self._dataset(split), self.vocab)

    # Choosing

    def choose(self, which: int | str | os.PathLike[str], choice: Any) -> None:
        """Choose for a picture: "<Delete>", "<Keep>", or a class. `which` is its position in `fns`, or its file.

        >>> cleaner.choose(0, "<Delete>"); cleaner.choose(1, "tulip")
        """
        shown = self.look()
        if isinstance(which, (str, os.PathLike)):
            wanted = os.path.abspath(which)
            found = [one for one in shown if os.path.abspath(one.file) == wanted]
            if not found:
                raise ConfigError(
                    f"{printable(which)} is not among the {len(shown)} pictures shown ({self.cls!r}, {self.split}). "
                    "cleaner.show(class, split) turns to others."
                )
            self.put(found[0], choice)
        elif isinstance(which, (int, np.integer)) and 0 <= which < len(shown):
            self.put(shown[which], choice)
        else:
            raise ConfigError(f"choose takes a position from 0 to {len(shown) - 1} or a file, not {which!r}.")

    def put(self, one: Judged, choice: Any) -> None:
        """Choose for a picture that `look` gave."""
        name = str(choice)
        if name not in (KEEP, DELETE) and name not in self.classes:
            raise ConfigError(
                f"{name!r} is neither {KEEP!r}, {DELETE!r} nor a class.{near(name, self.classes)} A new class? "
                f"ImageClassifierCleaner(learn, opts=[{name!r}])."
            )
        key = os.path.abspath(one.file)
        if name == KEEP or name == one.label:
            self._choices.pop(key, None)
        else:
            self._choices[key] = Choice(one.file, one.split, one.label, name)
        self._tell()

    def choice_of(self, file: str | os.PathLike[str]) -> str:
        """What was chosen for a file: "<Keep>" unless something else was."""
        chosen = self._choices.get(os.path.abspath(file))
        return KEEP if chosen is None else chosen.choice

    def delete(self) -> list[int]:
        """The positions in `fns` of the pictures to be deleted, of the class and split looked at."""
        return [i for i, file in enumerate(self.fns) if self.choice_of(file) == DELETE]

    def change(self) -> list[tuple[int, Any]]:
        """(position in `fns`, new class) of the pictures to be relabelled, of the class and split looked at."""
        chosen = [(i, self.choice_of(file)) for i, file in enumerate(self.fns)]
        return [(i, self.classes[choice]) for i, choice in chosen if choice not in (KEEP, DELETE)]

    def chosen(self) -> list[Choice]:
        """What is not to be kept as it is, over all classes and splits, in the order of choosing."""
        return list(self._choices.values())

    def choices(self) -> pd.DataFrame:
        """All choices as a table: file, split, class, and "<Delete>" or the new class."""
        import pandas as pd

        rows = [(str(one.file), one.split, one.label, one.choice) for one in self.chosen()]
        return pd.DataFrame(rows, columns=["file", "split", "class", "choice"])

    def counts(self) -> tuple[int, int]:
        """How many pictures are to be deleted and relabelled, over all classes and splits."""
        chosen = Counter(one.choice == DELETE for one in self._choices.values())
        return chosen[True], chosen[False]

    # Doing

    def apply(self, only: Only | None = None, trash: str | os.PathLike[str] | None = None) -> Applied:
        """Move the deleted files to a dated folder in `.trash` beside the data, relabelled ones to their new class.

        Every move is in a journal there before it happens, and no file is written over: a second `a.jpg` becomes
        `a-2.jpg`. `only` does one of the two; `trash` is another folder for the deleted. Raises ConfigError or
        DataError before the first move where files may not be moved, or where a move would not change the label.
        """
        if only not in (None, "delete", "relabel"):
            raise ConfigError(f"only={only!r}: choose 'delete', 'relabel', or None for both.")
        todo = [one for one in self.chosen() if only is None or (one.choice == DELETE) == (only == "delete")]
        if not todo:
            return Applied()
        refuse_unmovable(todo)
        targets = {one: place_of_class(one, self._dataset(one.split)) for one in todo if one.choice != DELETE}
        root = data_root(todo, self.learn.dls.path, [self._dataset(split) for split in self.splits])
        journal = new_trash(Path(os.path.abspath(trash)) if trash is not None else root / TRASH, root)
        self._applied.append(journal)
        steps = {step_of(one, targets.get(one), journal): one for one in todo}
        deleted, relabelled, gone = [], [], []
        try:
            for step, target in carry_out(steps, journal):
                one = steps[step]
                self._moved[step.source] = one
                self._choices.pop(step.source, None)
                if target is None:
                    gone.append(one.file)
                elif step.why == "delete":
                    deleted.append(one.file)
                else:
                    relabelled.append((one.file, Path(target)))
        finally:
            self._tell()
        return Applied(tuple(deleted), tuple(relabelled), tuple(gone), journal.folder)

    def undo(self) -> Undone:
        """Take the last apply of this cleaner back. In a new session: `ImageClassifierCleaner.undo_last(path)`."""
        if not self._applied:
            raise ConfigError(
                "This cleaner has applied nothing. An apply of another session is taken back by "
                "ImageClassifierCleaner.undo_last(path), with the folder of the data."
            )
        done = undo(self._applied[-1])
        self._applied.pop()
        for path in done.back:
            self._moved.pop(str(path), None)
        self._tell()
        return done

    @staticmethod
    def undo_last(path: str | os.PathLike[str]) -> Undone:
        """Take the last apply on the data in `path` back, whoever did it; after a kill, too. See `apply`.

        >>> ImageClassifierCleaner.undo_last("data/flowers")
        """
        return undo(find_last(path))

    def close(self) -> None:
        """Put a still table of the choices in the widget's place."""
        if self._face is not None:
            self._face.end()
            self._face = None

    # The page

    def _ipython_display_(self) -> None:
        if not in_notebook():
            print(repr(self))
            return
        try:
            from fastlearn.vision.cleaner_widget import CleanerWidget
        except ImportError as error:
            raise MissingExtraError(
                f"The cleaner's widget needs anywidget and ipywidgets ({error}). Type %pip install anywidget "
                "ipywidgets and restart the kernel. Without them there are cleaner.show(class, split) and "
                "cleaner.choose(0, '<Delete>')."
            ) from error
        if self._face is None:
            self._face = CleanerWidget(self)
        self._face.show()  # first, so that the progress has a place
        self.look()
        self._tell()

    def _tell(self) -> None:
        if self._face is not None:
            self._face.tell()

    def __repr__(self) -> str:
        delete, relabel = self.counts()
        return f"ImageClassifierCleaner({len(self.vocab)} classes, {delete} to delete, {relabel} to relabel)"

    # Inside

    def _named(self, cls: Any) -> str:
        name = self.cls if cls is None else str(cls)
        if name not in self.vocab:
            raise ConfigError(f"There is no class {name!r}.{near(name, self.vocab)}")
        return name

    def _dataset(self, split: str) -> Any:
        return self.learn.dls[self.splits.index(split)].dataset

    def _top(self, cls: str, split: str) -> list[Judged]:
        found: list[Judged] = []
        for index in self._losses[split].highest(self.vocab.index(cls)):
            one = self.judged(index, split)
            if os.path.abspath(one.file) not in self._moved:
                found.append(one)
            if len(found) == self.max_n:
                break
        return found


def _check(learn: Any, max_n: Any) -> None:
    """Raise ConfigError unless there are files with one class each."""
    if not hasattr(learn, "get_preds"):
        raise ConfigError(f"A cleaner is made from a learner, not from {learn!r}.")
    if not isinstance(max_n, (int, np.integer)) or max_n < 1:
        raise ConfigError(f"max_n={max_n!r}: expected how many pictures to show, a whole number from 1.")
    dataset = learn.dls.train_ds
    if not hasattr(dataset, "blocks") or getattr(learn.task, "name", None) != "classification":
        raise ConfigError(
            "A cleaner needs pictures with one class each, in DataLoaders made by ImageDataLoaders or a DataBlock with "
            "blocks=(ImageBlock, CategoryBlock). Interpretation.from_learner(learn).top_losses() works for others."
        )
    source = dataset.read(0, 0)
    if not isinstance(source, (str, os.PathLike)):
        raise ConfigError(f"A cleaner moves files, and these pictures are {type(source).__name__}s in memory.")
