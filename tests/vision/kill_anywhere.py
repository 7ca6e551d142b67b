"""Carries moves out and takes them back, killed before every single file operation; run by `test_cleaner_moves`.

A program of its own, since it forks: that must not happen in a process with torch's threads.
"""

import errno
import os
import signal
import sys
from pathlib import Path

from fastlearn.vision.cleaner_moves import Step, carry_out, find_last, new_trash, undo

OPERATIONS = {"open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.symlink"}
ENOUGH = 500


def make(root):
    """Two files, a name that is taken, an empty file and a relative link."""
    for name, text in {"a/1.png": "one", "a/2.png": "two", "b/2.png": "other", "a/empty.png": ""}.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    (root / "a/link.png").symlink_to("../b/2.png")


def contents(root):
    """Every file outside the trash, with what it holds."""
    files = [path for path in root.rglob("*") if not path.is_dir() and ".trash" not in path.parts]
    folders = [path for path in root.iterdir() if path.name != ".trash"]
    held = {str(path.relative_to(root)): (path.is_symlink() and os.readlink(path), path.read_text()) for path in files}
    return held, sorted(folders)


def apply(root):
    journal = new_trash(root / ".trash", root)
    names = [("a/1.png", "delete"), ("a/2.png", "b/2.png"), ("a/empty.png", "new/empty.png"), ("a/link.png", "delete")]
    steps = []
    for name, to in names:
        trash = str(journal.folder / "files" / name)
        steps.append(Step(str(root / name), trash if to == "delete" else str(root / to), to))
    list(carry_out(steps, journal))


def killed_at(number, job):
    """Run `job` in a child that is killed before file operation `number`; True if it came to its end before."""
    child = os.fork()
    if child == 0:
        put_trash_on_another_disk()
        seen = 0

        def watch(event, _):
            nonlocal seen
            if event in OPERATIONS:
                if seen == number:
                    os.kill(os.getpid(), signal.SIGKILL)
                seen += 1

        sys.addaudithook(watch)
        try:
            job()
        except BaseException as error:
            print(repr(error), file=sys.stderr, flush=True)
            os._exit(3)
        os._exit(0)
    status = os.waitpid(child, 0)[1]
    if os.WIFEXITED(status) and os.WEXITSTATUS(status):
        raise SystemExit("the job failed")
    return os.WIFEXITED(status)


def put_trash_on_another_disk():
    replace = os.replace

    def refuse(source, target):
        if (".trash" in str(source)) != (".trash" in str(target)):
            raise OSError(errno.EXDEV, "Invalid cross-device link")
        replace(source, target)

    os.replace = refuse


def check(tmp):
    number, ended = 0, False
    while not ended:
        assert number < ENOUGH
        root = tmp / f"apply-{number}"
        make(root)
        before = contents(root)
        ended = killed_at(number, lambda root=root: apply(root))
        if any((root / ".trash").glob("*/journal.jsonl")) and next((root / ".trash").glob("*/*.jsonl")).read_bytes():
            undo(find_last(root))
        assert contents(root) == before, f"killed before operation {number} of apply"
        number += 1
    print("apply", number)
    number, ended = 0, False
    while not ended:
        assert number < ENOUGH
        root = tmp / f"undo-{number}"
        make(root)
        before = contents(root)
        apply(root)
        assert contents(root) != before
        ended = killed_at(number, lambda root=root: undo(find_last(root)))
        if not ended:
            undo(find_last(root))
        assert contents(root) == before, f"killed before operation {number} of undo"
        number += 1
    print("undo", number)


if __name__ == "__main__":
    os.fsync = lambda handle: None  # a kill is not a power cut, and hundreds of them take a minute
    check(Path(sys.argv[1]))
