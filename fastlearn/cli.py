"""The console command `fastlearn`: demo, train, predict, check, cache.

Exit codes: 0 all is well; 1 a picture could not be answered, or the check found errors; 2 the command cannot work as
it was typed; 130 Ctrl-C; 143 SIGTERM. torch is imported only by a command that needs it, so `--help` is there at once.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from fastlearn.errors import ConfigError, FastlearnError, ImageError

if TYPE_CHECKING:
    from fastlearn.data.dataloaders import DataLoaders
    from fastlearn.export import Prediction, TrainedModel
    from fastlearn.learner import Learner

LITE0 = "tf_efficientnet_lite0"
BS = 64
STEPS = 20  # an epoch should have about so many: with fewer, three epochs are too few steps to learn anything
_FOLDERS = """\
PATH holds a folder for each class: train/<class>/*.jpg and valid/<class>/*.jpg (or val, validation, test),
or <class>/*.jpg alone, of which a random fifth is then kept for validation."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")  # a file's name may hold signs that the terminal cannot show
    typed = sys.argv[1:] if argv is None else argv
    with _ended_like_ctrl_c() as ended:
        try:
            return _run(typed)
        except KeyboardInterrupt:
            if argv is None:  # the process ends now, and a second Ctrl-C would only break into that
                signal.signal(signal.SIGINT, signal.SIG_IGN)
            print("\nTerminated." if ended() else "\nInterrupted.", file=sys.stderr)
            return 143 if ended() else 130


@contextmanager
def _ended_like_ctrl_c() -> Iterator[Callable[[], bool]]:
    """While entered, SIGTERM does what Ctrl-C does, so that what was begun is cleaned up; tells whether it came."""
    came = False

    def handle(number: int, frame: FrameType | None) -> None:
        nonlocal came
        came = True
        on_ctrl_c = signal.getsignal(signal.SIGINT)
        if not callable(on_ctrl_c):  # ignored, as in a background job
            raise KeyboardInterrupt
        on_ctrl_c(signal.SIGINT, frame)

    is_main = threading.current_thread() is threading.main_thread()
    if not is_main or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        yield lambda: came
        return
    signal.signal(signal.SIGTERM, handle)
    try:
        yield lambda: came
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _run(typed: Sequence[str]) -> int:
    """The command that was typed; every error but Ctrl-C becomes a message and an exit code."""
    parser = _parser()
    if not typed:
        parser.print_help(sys.stderr)
        return 2
    args = parser.parse_args(typed)
    try:
        code = int(args.run(args))
        sys.stdout.flush()  # here, where its errors have an answer, and not while Python ends
        return code
    except BrokenPipeError:  # whoever read our output has seen enough, as in `fastlearn predict … | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except FastlearnError as error:
        print(f"fastlearn {args.command}: {error}", file=sys.stderr)
        return 2
    except OSError as error:  # the disk behind our output is full, say
        print(f"fastlearn {args.command}: {error}", file=sys.stderr)
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="fastlearn",
        description="From a folder of pictures to a trained model that answers.",
        epilog="fastlearn COMMAND --help tells more. In a notebook: from fastlearn.vision.all import *",
    )
    parser.add_argument("--version", action="version", version=f"fastlearn {_version()}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _add_demo(commands)
    _add_train(commands)
    _add_predict(commands)
    _add_check(commands)
    _add_cache(commands)
    return parser


def _version() -> str:
    import importlib.metadata

    try:
        return importlib.metadata.version("fastlearn")
    except importlib.metadata.PackageNotFoundError:  # run from a folder that is not installed
        return "(not installed)"


def _command(commands: Any, name: str, run: Any, help: str, more: str = "") -> argparse.ArgumentParser:
    told = f"{help}\n\n{more}" if more else help
    parser = commands.add_parser(
        name, help=help, description=told, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.set_defaults(run=run)
    return parser


# demo


def _add_demo(commands: Any) -> None:
    what = "Fine-tune a pretrained network on a small data set, and draw how well it does."
    parser = _command(
        commands, "demo", _demo, what, "No network is needed: pictures and weights come with the install."
    )
    parser.add_argument(
        "--out", type=Path, default=Path("demo-output"), metavar="DIR", help="where the PNG files go (%(default)s)"
    )


def _demo(args: argparse.Namespace) -> int:
    from fastlearn.demo import run_demo

    run_demo(args.out)
    return 0


_WRONG_NAMES = "only warn of files of another format than their name says (a PNG called .jpg)"


# train


def _add_train(commands: Any) -> None:
    what = "Fine-tune a pretrained network on a folder of pictures, and write it as one file."
    parser = _command(commands, "train", _train, what, _FOLDERS)
    add = parser.add_argument
    add("path", type=Path, metavar="PATH", help="the folder of pictures")
    add("--out", type=Path, metavar="FILE", help="the file to write (./<name of PATH>-model.fl)")
    add("--overwrite", action="store_true", help="replace the model that is in FILE")
    add("--arch", default=LITE0, metavar="NAME", help="a network of timm's: resnet18, convnext_tiny … (%(default)s)")
    add("--no-pretrained", dest="pretrained", action="store_false", help="begin with random weights")
    add("--epochs", type=int, default=3, metavar="N", help="of the whole network, after one of its head (%(default)s)")
    add(
        "--size", type=int, default=224, metavar="PX", help="pictures are resized and cropped to a square (%(default)s)"
    )
    add("--bs", type=int, metavar="N", help="pictures in a batch (64; fewer if there are few pictures)")
    add("--lr", type=float, default=2e-3, metavar="RATE", help="the learning rate of the head (%(default)s)")
    add("--augment", action="store_true", help="flip, turn, zoom and light the training pictures at random")
    add("--valid-pct", type=float, metavar="SHARE", help="validate on this random share of all pictures, as 0.2")
    add(
        "--skip-bad",
        action="store_true",
        help="leave unreadable and wrongly named files out; otherwise they are named and refused",
    )
    add("--allow-wrong-names", action="store_true", help=_WRONG_NAMES)
    add("--seed", type=int, default=0, metavar="N", help="of split, head and order: one seed, one model (%(default)s)")
    add("--workers", type=int, metavar="N", help="threads that read pictures (one a processor, at most 8)")


def _train(args: argparse.Namespace) -> int:
    print(f"Reading {_shown(args.path)} …", flush=True)  # loading PyTorch takes seconds
    from fastlearn.paths import printable
    from fastlearn.runtime.disk import lacking
    from fastlearn.vision.export import export_learner

    out = _out_file(args)
    if args.epochs < 1:
        raise ConfigError(f"--epochs {args.epochs}: train for 1 or more.")
    dls = _loaders(args)
    report = dls.check()
    report.raise_for_errors()
    if report.findings:
        print(report)
    sizes = f"{len(dls.train_ds):,} pictures to train on, {len(dls.valid_ds):,} to validate, {len(dls.vocab)} classes"
    print(f"{sizes}; {args.arch} on {dls.device}", flush=True)
    learn = _learner(args, dls)
    n_bytes = sum(tensor.nbytes for tensor in learn.model.state_dict().values())
    if missing := lacking(_there(out.parent), n_bytes):  # said now, and not after an hour of training
        raise ConfigError(f"No room for the model. {missing} Free some space, or name a file elsewhere: --out FILE.")
    learn.fine_tune(args.epochs, args.lr)
    written = export_learner(learn, _still_free(out, args.overwrite), training=_story(args))
    sample = dls.valid_ds.items[0]
    print(f"Wrote {printable(written)}. Ask it: fastlearn predict {_quoted(written)} {_quoted(sample)}")
    return 0


def _out_file(args: argparse.Namespace) -> Path:
    """Where the model goes; an error before the training if it cannot go there."""
    from fastlearn.export.bundle import bundle_path
    from fastlearn.paths import printable

    out = bundle_path(args.out or Path(f"{args.path.resolve().name or 'pictures'}-model.fl"))
    if out.is_dir():
        raise ConfigError(f"{printable(out)} is a folder. Name a file for the model with --out FILE.")
    if out.exists() and not args.overwrite:
        raise ConfigError(f"{printable(out)} is there already. Add --overwrite to replace it, or --out FILE.")
    at = _there(out.parent)
    if not at.is_dir() or not os.access(at, os.W_OK):
        why = "No permission to write in" if at.is_dir() else "A file is in the way:"
        raise ConfigError(f"{why} {printable(at)}. Name another place with --out FILE.")
    return out


def _there(folder: Path) -> Path:
    """The nearest of a path and its parents that exists."""
    return next(at for at in (folder, *folder.absolute().parents) if at.exists())


def _still_free(out: Path, overwrite: bool) -> Path:
    """`out`, or a name beside it if another process has written there while this one trained: neither model is lost."""
    if overwrite:
        return out
    names = [out, *(out.with_stem(f"{out.stem}-{k}") for k in range(2, 100))]
    return next((path for path in names if not path.exists()), out)


def _loaders(args: argparse.Namespace) -> DataLoaders:
    from fastlearn.vision.augment import aug_transforms
    from fastlearn.vision.data import ImageDataLoaders
    from fastlearn.vision.transforms import Resize

    made = ImageDataLoaders.from_folder(
        args.path,
        valid_pct=args.valid_pct,
        seed=args.seed,
        item_tfms=Resize(args.size),
        batch_tfms=aug_transforms() if args.augment else None,
        bs=args.bs,
        num_workers=args.workers,
        on_error="skip" if args.skip_bad else "warn" if args.allow_wrong_names else "raise",
    )
    n_train = len(made.train_ds)
    few = args.bs is None and n_train < BS * STEPS
    return made.new(bs=min(n_train, max(8, n_train // STEPS))) if few else made


def _learner(args: argparse.Namespace, dls: DataLoaders) -> Learner:
    from fastlearn.metrics import accuracy
    from fastlearn.vision.learner import vision_learner

    return vision_learner(
        dls, args.arch, pretrained=args.pretrained, metrics=accuracy, lr=args.lr, seed=args.seed, path=args.path
    )


def _story(args: argparse.Namespace) -> dict[str, Any]:
    """What was typed, for the model's card; no path of this machine."""
    return {"data": args.path.resolve().name, "epochs": args.epochs, "lr": args.lr, "augment": args.augment}


def _quoted(path: str | os.PathLike[str]) -> str:
    """A path as one would type it in a shell."""
    import shlex

    from fastlearn.paths import printable

    return shlex.quote(printable(path))


# predict


def _add_predict(commands: Any) -> None:
    what = "Name what is on pictures: one line each, with the label, its probability and the file."
    parser = _command(commands, "predict", _predict, what, "Exit code 1 if a picture could not be read.")
    parser.add_argument("model", type=Path, metavar="MODEL", help="a file that `fastlearn train` or learn.export wrote")
    parser.add_argument("images", type=Path, metavar="IMAGE", nargs="+", help="pictures")
    parser.add_argument("--json", action="store_true", help="one JSON object a line, with every label's probability")


def _predict(args: argparse.Namespace) -> int:
    from fastlearn.export import load_learner

    model = load_learner(args.model)
    failed = 0
    for image in args.images:
        try:
            answer = model.predict(image)
        except ImageError as error:
            failed += 1
            print(f"fastlearn predict: {error}", file=sys.stderr, flush=True)
            continue
        if args.json:
            _print_json({"file": str(image), "label": answer.label, **_chances(model, answer)})
        else:
            print(f"{model.answers.said(answer)}  {_shown(image)}", flush=True)
    return 1 if failed else 0


def _chances(model: TrainedModel, answer: Prediction) -> dict[str, Any]:
    """The probability of each label; of a regression nothing, as the label says it all."""
    named = zip(map(str, model.vocab), answer.probabilities.tolist(), strict=False)
    return {"probabilities": dict(named)} if model.vocab else {}


def _print_json(record: dict[str, Any]) -> None:
    import json

    print(json.dumps(record), flush=True)  # ASCII with escapes: any terminal, and any name of a file


def _shown(path: Path) -> str:
    """A path on one line."""
    text = str(path)
    return text if text.isprintable() else repr(text)


# check


def _add_check(commands: Any) -> None:
    what = "Look at every picture of a folder and report what is wrong. Changes nothing."
    parser = _command(commands, "check", _check, what, f"{_FOLDERS}\n\nExit code 1 if there are errors.")
    parser.add_argument("path", type=Path, metavar="PATH", help="the folder of pictures")
    parser.add_argument("--quick", action="store_true", help="decode suspicious files only")
    parser.add_argument("--allow-wrong-names", action="store_true", help=_WRONG_NAMES)


def _check(args: argparse.Namespace) -> int:
    from fastlearn.data.checks import check_folder

    report = check_folder(args.path, thorough=not args.quick, wrong_name="warn" if args.allow_wrong_names else "raise")
    print(report)
    return 0 if report.ok else 1


# cache


def _add_cache(commands: Any) -> None:
    what = "Show or empty the disk cache of decoded and resized pictures."
    more = "A cache is used where it has room, and its least recently used pictures make room by themselves."
    parser = _command(commands, "cache", _cache, what, more)
    parser.add_argument("action", choices=["ls", "clear"], help="ls: what is there; clear: remove what nobody uses now")


def _cache(args: argparse.Namespace) -> int:
    from fastlearn.data.cache_folder import cache_folder, clear, in_units, listing, shown, size_limit

    folder = shown(cache_folder())
    if args.action == "clear":
        print(f"Freed {in_units(clear())} in {folder}.")
        return 0
    stored = listing()
    for one in stored:
        print(f"{in_units(one.n_bytes):>9}  {one.n_pictures:>9,} pictures  {_day(one.used)}  {one.recipe}")
    total = in_units(sum(one.n_bytes for one in stored))
    print(f"{folder}: {total} of at most {in_units(size_limit())} (FASTLEARN_CACHE_LIMIT).")
    return 0


def _day(seconds: float) -> str:
    """The day of a moment, as 2026-03-01."""
    import datetime

    return f"{datetime.datetime.fromtimestamp(seconds):%Y-%m-%d}" if seconds else "never used"
