"""Finds what is wrong with the pictures of a data set before training does. Nothing on the disk is ever changed."""

from __future__ import annotations

import os
import pathlib
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from fastlearn.data.examine import Seen, equal_files, examine_all
from fastlearn.data.files import TRAIN_NAMES, VALID_NAMES, get_files, image_extensions, is_folder
from fastlearn.data.part import WrongName, check_wrong_name
from fastlearn.data.report import FILE_FAULTS, Finding, Report, Severity, counted, shown
from fastlearn.errors import DataError
from fastlearn.lists import L
from fastlearn.options import named_options
from fastlearn.paths import Path, not_listed, siblings_like

if TYPE_CHECKING:
    from fastlearn.data.dataloaders import DataLoaders

StrPath = str | os.PathLike[str]
UNEVEN = 10  # the commonest class is this many times the rarest
TINY_PX = 3  # a picture of fewer pixels across is a counting pixel or a mistake
_SKIP = 'Mend or delete them; or leave them out: ImageDataLoaders.from_folder(path, on_error="skip").'
_RENAME = {
    "raise": 'Rename them to what they are; or leave them out: on_error="skip"; or train on them as they are: '
    'on_error="warn" (in a DataBlock: ImageBlock(wrong_name="warn")).',
    "warn": "They are read by their content, so training works. Rename them if other programs shall read them.",
}
_UNPACK = "If you trust them: import PIL.Image; PIL.Image.MAX_IMAGE_PIXELS = …. " + _SKIP


class Entry(NamedTuple):
    """One picture of a data set: the side of the split that it is on, its label, if known, and how it was asked for."""

    path: StrPath
    side: str = "train"
    label: Any = None
    wrong_name: WrongName = "raise"


@named_options
def verify_images(
    fns: Iterable[StrPath], max_workers: int | None = None, progress: bool = True, *, wrong_name: WrongName = "raise"
) -> L[Any]:
    """Those of the files `fns` that training refuses, by decoding each of them whole, in parallel.

    That is what cannot be opened as a picture and, unless `wrong_name="warn"`, what is another format than its name
    says: a PNG called .jpg, which opens well.

    >>> failed = verify_images(get_image_files(path))
    >>> failed.map(Path.unlink)
    """
    paths = files_of(fns, "fns")
    check_wrong_name(wrong_name)
    seen = examine_all(paths, True, max_workers, progress)
    return L([path for path, one in zip(paths, seen, strict=True) if refused(one, wrong_name)])


def refused(one: Seen, wrong_name: WrongName = "raise") -> bool:
    """Whether training refuses a file for what was seen of it."""
    return one.fault is not None or (wrong_name == "raise" and bool(one.wrong_name))


@named_options
def check_images(
    paths: Iterable[StrPath],
    max_workers: int | None = None,
    progress: bool = True,
    thorough: bool = True,
    *,
    wrong_name: WrongName = "raise",
) -> Report:
    """Which files are unreadable, wrongly named, or the same picture twice; `thorough=False` decodes only suspects.

    A wrong name (a PNG called .jpg) is an error, or with `wrong_name="warn"` a warning.

    >>> check_images(get_image_files(path)).raise_for_errors()
    """
    check_wrong_name(wrong_name)
    entries = [Entry(path, wrong_name=wrong_name) for path in files_of(paths, "paths")]
    return _report("Pictures", entries, [], max_workers, progress, thorough)


@named_options
def check_folder(
    path: StrPath,
    max_workers: int | None = None,
    progress: bool = True,
    thorough: bool = True,
    *,
    wrong_name: WrongName = "raise",
) -> Report:
    """The whole check of a folder `train/<class>` and `valid/<class>`, or `<class>`: files, duplicates and classes.

    `val`, `validation` and `test` count as `valid`; `wrong_name="warn"` makes a warning of the error for a file of
    another format than its name says. Raises `DataError` when the folder is missing, is a file, or holds no picture.

    >>> print(check_folder("pets"))
    """
    check_wrong_name(wrong_name)
    if not isinstance(path, (str, os.PathLike)):
        raise DataError(f"check_folder takes the path of a folder, not {path!r}.")
    root = pathlib.Path(path)
    if not root.is_dir():
        said = "is a file, not a folder" if root.exists() else "is no folder"
        raise DataError(f"{shown(root)} {said}.{'' if root.exists() else siblings_like(root)}")
    sides = _sides(root)
    entries, others = [], Counter[str]()
    for side, folder in sides.items():
        at_top = Path(folder)
        for file in get_files(folder):
            ending = file.suffix.lower()
            if ending in image_extensions:
                label = None if file.parent == at_top else file.parent.name
                entries.append(Entry(file, side, label, wrong_name))
            else:
                others[ending or "without ending"] += 1
    if not entries:
        get_files(root, image_extensions)  # says what is there instead
    known = [_no_classes(sides, entries), _empty_classes(sides), _other_files(others)]
    return _report(shown(root), entries, [finding for finding in known if finding], max_workers, progress, thorough)


def check_dataloaders(
    dls: DataLoaders, max_workers: int | None = None, progress: bool = True, thorough: bool = True
) -> Report:
    """The same check of the loaders' data: every picture that is a file, and every class label, of every side.

    >>> dls.check().raise_for_errors()
    """
    entries: list[Entry] = []
    known: list[Finding] = []
    for k, loader in enumerate(dls.loaders):
        dataset = getattr(loader, "dataset", None)
        side = getattr(dataset, "split", "train" if k == 0 else "valid")
        if not hasattr(dataset, "kinds") or not hasattr(dataset, "raw"):
            what = f"The {side} loader holds {type(dataset).__name__}, not items of fastlearn: its files are unknown."
            known.append(Finding("foreign", "note", what, fix="check_images(paths) checks any list of files."))
            continue
        entries += _entries_of(dataset, side)
    return _report("dls", entries, known, max_workers, progress, thorough)


def _entries_of(dataset: Any, side: str) -> list[Entry]:
    """The pictures of a data set that are files, with the label where there is one category."""
    categories = [part for part, kind in enumerate(dataset.kinds) if kind == "category"]
    labels = list(dataset.raw[categories[0]]) if len(categories) == 1 else [None] * len(dataset)
    entries = []
    blocks = getattr(dataset, "blocks", ())
    for part in (part for part, kind in enumerate(dataset.kinds) if kind == "image"):
        wrong_name: WrongName = getattr(blocks[part], "wrong_name", "raise") if blocks else "raise"
        for i, label in enumerate(labels):
            raw = dataset.read(i, part)  # not through the list of raw values, which would keep them all
            if isinstance(raw, (str, os.PathLike)):
                entries.append(Entry(raw, side, label, wrong_name))
    return entries


def _sides(root: pathlib.Path) -> dict[str, pathlib.Path]:
    """The folder of each side; everything is for training where there is no folder `train`."""
    try:
        below = {entry.name.lower(): root / entry.name for entry in os.scandir(root) if is_folder(entry)}
    except OSError as error:
        raise not_listed(root, error) from error
    train = next((below[name] for name in TRAIN_NAMES if name in below), None)
    valid = next((below[name] for name in VALID_NAMES if name in below), None)
    if train is None:
        return {"train": root}
    return {"train": train} | ({"valid": valid} if valid is not None else {})


def _report(
    title: str, entries: Sequence[Entry], known: list[Finding], max_workers: int | None, progress: bool, thorough: bool
) -> Report:
    start = time.perf_counter()
    paths = [entry.path for entry in entries]
    seen = examine_all(paths, thorough, max_workers, progress)
    equal = equal_files(paths, seen, max_workers, progress)
    findings = [*known, *_file_findings(entries, seen), *_equal_findings(entries, equal), *_class_findings(entries)]
    return Report(title, tuple(findings), len(entries), time.perf_counter() - start)


def _file_findings(entries: Sequence[Entry], seen: Sequence[Seen]) -> Iterable[Finding]:
    """Files that cannot be used, that are not what their name says, or that are hardly pictures."""
    faults: dict[str, list[int]] = defaultdict(list)
    for i, one in enumerate(seen):
        if one.fault is not None:
            faults[one.fault].append(i)
    for kind in FILE_FAULTS:
        if bad := faults[kind]:
            message = f"{counted(len(bad), 'file')} {'is' if len(bad) == 1 else 'are'} {FILE_FAULTS[kind]}."
            details = tuple(_with_reason(entries[i].path, seen[i].reason) for i in bad)
            yield Finding(kind, "error", message, _paths(entries, bad), _UNPACK if kind == "bomb" else _SKIP, details)
    for policy in ("raise", "warn"):
        if misnamed := [i for i, one in enumerate(seen) if one.wrong_name and entries[i].wrong_name == policy]:
            yield _wrong_names(entries, seen, misnamed, policy)
    if tiny := [i for i, one in enumerate(seen) if one.fault is None and 0 < min(one.size) < TINY_PX]:
        message = f"{counted(len(tiny), 'picture')} of less than {TINY_PX} pixels across: probably not pictures."
        yield Finding("tiny", "warning", message, _paths(entries, tiny), "Look at them, and delete what is none.")
    sizes = {one.size for one in seen if one.fault is None and min(one.size) > 0}
    if len(sizes) > 1:
        (low, narrow), (high, wide) = (tuple(pick(s) for s in zip(*sizes, strict=True)) for pick in (min, max))
        message = f"The pictures are of {len(sizes):,} sizes, {low} to {high} high and {narrow} to {wide} wide."
        yield Finding("sizes", "note", message, fix="A batch needs one size: item_tfms=Resize(224), for example.")


def _wrong_names(entries: Sequence[Entry], seen: Sequence[Seen], misnamed: list[int], policy: str) -> Finding:
    details = tuple(f"{shown(entries[i].path)} is {seen[i].wrong_name}" for i in misnamed)
    message = f"{counted(len(misnamed), 'file')} of another format than the name says."
    severity: Severity = "error" if policy == "raise" else "warning"
    return Finding("wrong_name", severity, message, _paths(entries, misnamed), _RENAME[policy], details)


def files_of(paths: Any, name: str) -> list[StrPath]:
    """The files of an argument as a list; raises `DataError` for one that is no list of files."""
    if isinstance(paths, (str, os.PathLike)):
        raise DataError(f"{name} takes a list of files, not {shown(paths)!r}. Type get_image_files({shown(paths)!r}).")
    if not isinstance(paths, Iterable):
        raise DataError(f"{name} takes a list of files, not {paths!r}. Type get_image_files(path).")
    listed = list(paths)
    for file in listed:
        if not isinstance(file, (str, os.PathLike)):
            raise DataError(f"{name} takes the names of files, and holds {file!r} of type {type(file).__name__}.")
    return listed


def _with_reason(path: StrPath, reason: str) -> str:
    name = shown(path)
    return name if not reason else reason if name in reason else f"{name}: {reason}"


def _equal_findings(entries: Sequence[Entry], equal: Sequence[Sequence[int]]) -> Iterable[Finding]:
    """The same picture on both sides, under two labels, or simply twice."""
    leaks, conflicts, copies = [], [], []
    for group in equal:
        if len({entries[i].side for i in group}) > 1:
            leaks.append(group)
        if len({str(entries[i].label) for i in group}) > 1:
            conflicts.append(group)
        for side in ("train", "valid"):
            here = [i for i in group if entries[i].side == side]
            if len(here) > 1:
                copies.append(here)
    if leaks:
        held_out = [i for group in leaks for i in group if entries[i].side != "train"]
        message = f"{counted(len(leaks), 'picture')} for validation also trained on: the metrics would flatter."
        fix = 'Delete one of each: for p in report.paths("leak"): p.unlink() deletes those for validation.'
        yield Finding("leak", "error", message, _paths(entries, held_out), fix, _equations(entries, leaks))
    if conflicts:
        message = f"{counted(len(conflicts), 'picture')} under more than one label."
        mixed = [i for group in conflicts for i in group]
        fix = "Look at them, and keep the right one."
        yield Finding("two_labels", "warning", message, _paths(entries, mixed), fix, _equations(entries, conflicts))
    if copies:
        later = [i for group in copies for i in group[1:]]
        message = f"{counted(len(later), 'picture')} that repeat another one on the same side of the split."
        fix = 'They weigh double. To delete them: for p in report.paths("duplicate"): p.unlink()'
        yield Finding("duplicate", "warning", message, _paths(entries, later), fix, _equations(entries, copies))


def _equations(entries: Sequence[Entry], groups: Sequence[Sequence[int]]) -> tuple[str, ...]:
    return tuple(" = ".join(shown(entries[i].path) for i in group) for group in groups)


def _class_findings(entries: Sequence[Entry]) -> Iterable[Finding]:
    """Classes that are alone, on one side only, or very uneven. Says nothing where there are no labels."""
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for entry in entries:
        if entry.label is not None:
            counts["train" if entry.side == "train" else "valid"][str(entry.label)] += 1
    train, valid = counts["train"], counts["valid"]
    if not train:
        return
    if len(train) == 1:
        message = f"All training pictures are of one class, {next(iter(train))!r}: there is nothing to tell apart."
        fix = "Expected a folder for each class: train/<class>/*.jpg, or <class>/*.jpg. Labels in a CSV? Use from_csv."
        yield Finding("one_class", "error", message, fix=fix)
    if unknown := sorted(set(valid) - set(train)):
        message = f"{counted(len(unknown), 'class')} for validation but not for training: {_named(unknown)}."
        yield Finding("class_not_in_train", "error", message, fix="Move pictures of them to train, or delete them.")
    if valid and (absent := sorted(set(train) - set(valid))):
        message = f"{counted(len(absent), 'class')} for training but not for validation: {_named(absent)}."
        fix = "Their accuracy stays unknown. Move some pictures to valid, or split anew with StratifiedSplitter()."
        yield Finding("class_not_in_valid", "warning", message, fix=fix)
    (most, n_most), (least, n_least) = train.most_common()[0], train.most_common()[-1]
    if n_most >= UNEVEN * n_least:
        message = f"The classes are uneven: {n_most:,} of {most!r}, {n_least:,} of {least!r}."
        fix = "Draw them evenly: dls = dls.weighted(), and look at more than the accuracy."
        yield Finding("uneven", "warning", message, fix=fix)


def _named(classes: Sequence[str]) -> str:
    more = f" and {len(classes) - 6} more" if len(classes) > 6 else ""
    return ", ".join(repr(name) for name in classes[:6]) + more


def _no_classes(sides: dict[str, pathlib.Path], entries: Sequence[Entry]) -> Finding | None:
    """All pictures for training lie directly in its folder, which tells no class of them."""
    train = [entry for entry in entries if entry.side == "train"]
    if not train or any(entry.label is not None for entry in train):
        return None
    folder = shown(sides["train"])
    message = f"There are no class folders in {folder}: its {counted(len(train), 'picture')} lie directly in it."
    fix = f"Expected {folder}/<class>/*.jpg. Is this one class? Check the folder above. Labels in a CSV? Use from_csv."
    return Finding("no_classes", "error", message, fix=fix)


def _empty_classes(sides: dict[str, pathlib.Path]) -> Finding | None:
    """Folders at the place of a class that hold no picture at any depth."""
    empty = []
    for folder in sides.values():
        for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
            if is_folder(entry) and not entry.name.startswith(".") and not _holds_picture(entry.path):
                empty.append(Path(entry.path))
    if not empty:
        return None
    message = f"{counted(len(empty), 'class folder')} without a picture."
    return Finding("empty_class", "error", message, tuple(empty), "Fill them or delete them.")


def _holds_picture(folder: str) -> bool:
    return any(
        os.path.splitext(name)[1].lower() in image_extensions and not name.startswith(".")
        for _, _, names in os.walk(folder)
        for name in names
    )


def _other_files(others: Counter[str]) -> Finding | None:
    if not others:
        return None
    listed = ", ".join(f"{n:,} {ending}" for ending, n in others.most_common(4))
    message = f"{counted(others.total(), 'file')} not taken for pictures, by the ending of the name: {listed}."
    return Finding("other_files", "note", message)


def _paths(entries: Sequence[Entry], positions: Iterable[int]) -> tuple[Path, ...]:
    return tuple(Path(entries[i].path) for i in positions)
