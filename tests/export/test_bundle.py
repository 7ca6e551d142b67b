"""A bundle as a file: what is written is what is read; anything else is damaged, and says so."""

from __future__ import annotations

import errno
import hashlib
import io
import json
import os
import random
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from bundles import PICTURE, written, written_folder

from fastlearn.arch.spec import VisionModel
from fastlearn.errors import CheckpointError, ConfigError, DamagedFileError
from fastlearn.export import load_learner
from fastlearn.export.bundle import CARD, MANIFEST, SAMPLE, WEIGHTS, bundle_path, read_bundle, write_bundle

Members = dict[str, bytes]


@pytest.mark.parametrize("name", ["x" * 300, "x\0y", "dangling.fl"])
def test_names_that_lead_nowhere(members: Members, tmp_path: Path, name: str) -> None:
    (tmp_path / "dangling.fl").symlink_to(tmp_path / "gone")
    with pytest.raises((CheckpointError, ConfigError), match="There is no file|cannot|NUL"):
        read_bundle(tmp_path / name)
    if name == "dangling.fl":  # the link gives way to the file
        write_bundle(bundle_path(tmp_path / name), members)
        assert read_bundle(tmp_path / name) == members and not (tmp_path / name).is_symlink()
    else:
        with pytest.raises((CheckpointError, ConfigError), match="Name another file|cannot|NUL"):
            write_bundle(bundle_path(tmp_path / name), members)


def test_there_and_back(members: Members, bundle: Path) -> None:
    assert read_bundle(bundle) == members


def test_what_lies_on_the_disk(members: Members, bundle: Path) -> None:
    """Anyone can look inside: a plain zip, hashes as of `sha256sum`, weights that safetensors reads."""
    assert os.listdir(bundle.parent) == ["model.fl"]
    with zipfile.ZipFile(bundle) as zipped:
        assert sorted(zipped.namelist()) == sorted([MANIFEST, *members])
        manifest = json.loads(zipped.read(MANIFEST))
        for name, entry in manifest["members"].items():
            data = zipped.read(name)
            assert entry == {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data)}
    umask = os.umask(0o022)
    os.umask(umask)
    assert bundle.stat().st_mode & 0o777 == 0o666 & ~umask


def test_a_zip_packed_anew_by_other_tools_is_read(members: Members, bundle: Path, tmp_path: Path) -> None:
    again = tmp_path / "again.fl"
    with zipfile.ZipFile(bundle) as old, zipfile.ZipFile(again, "w", zipfile.ZIP_DEFLATED) as new:
        for name in reversed(old.namelist()):
            new.writestr(name, old.read(name))
    assert read_bundle(again) == members


def rewritten(file: Path, change: Callable[[Members], object]) -> Path:
    """The file with its members, manifest included, changed, as a sound zip."""
    with zipfile.ZipFile(file) as zipped:
        members = {name: zipped.read(name) for name in zipped.namelist()}
    change(members)
    with zipfile.ZipFile(file, "w") as zipped:
        for name, data in members.items():
            zipped.writestr(name, data)
    return file


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda m: m.update({CARD: m[CARD].replace(b"chat", b"cats")}), "member model.json is not the one"),
        (lambda m: m.update({WEIGHTS: m[WEIGHTS][:-4] + b"\0\0\0\0"}), "member model.safetensors is not the one"),
        (lambda m: m.update({"evil.py": b"print(1)"}), "member 'evil.py', and nothing but"),
        (lambda m: m.update({"../evil": b""}), "member '../evil'"),
        (lambda m: m.update({"model.onnx": b""}), "member model.onnx is not in its manifest"),
        (lambda m: m.pop(MANIFEST), "has no manifest.json"),
        (lambda m: m.pop(SAMPLE), "lacks sample.safetensors"),
        (lambda m: m.pop(WEIGHTS), "lacks model.safetensors"),
        (lambda m: m.update({MANIFEST: b"{}"}), "manifest.json of .*is damaged"),
        (lambda m: m.update({MANIFEST: b"[" * 60_000}), "manifest.json of .*is damaged"),
        (lambda m: m.update({MANIFEST: b" " * (1 << 20)}), "at most 65,536 are read"),
        (lambda m: m.update({MANIFEST: b'{"format": 2, "members": {}}'}), "lacks|not in its manifest"),
    ],
)
def test_a_member_that_was_changed_is_found(bundle: Path, change: Callable[[Members], object], said: str) -> None:
    with pytest.raises(DamagedFileError, match=said) as error:
        load_learner(rewritten(bundle, change))
    assert "model.fl" in str(error.value)


def test_a_newer_format_says_so(bundle: Path) -> None:
    newer = rewritten(bundle, lambda m: m.update({MANIFEST: m[MANIFEST].replace(b'"format": 2', b'"format": 3')}))
    with pytest.raises(CheckpointError, match="has format 3; this fastlearn reads 2. Update fastlearn"):
        load_learner(newer)


def test_a_zip_bomb_is_refused_before_it_is_unpacked(members: Members, tmp_path: Path) -> None:
    file = tmp_path / "model.fl"
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as zipped:
        with zipped.open(WEIGHTS, "w", force_zip64=True) as member:
            for _ in range(200):
                member.write(bytes(1 << 20))
        zipped.writestr(CARD, members[CARD])
    with pytest.raises(DamagedFileError, match="unpacks to 209,715,200 bytes, and at most"):
        load_learner(file)


def test_no_file(tmp_path: Path) -> None:
    (tmp_path / "pets.fl").write_bytes(b"")
    with pytest.raises(CheckpointError, match="There is no file .*pet.fl. Did you mean 'pets.fl'"):
        load_learner(tmp_path / "pet.fl")
    with pytest.raises(CheckpointError, match="is a folder without a model in it. Expected a file"):
        load_learner(tmp_path)
    with pytest.raises(ConfigError, match="file is a path"):
        load_learner(3)  # type: ignore[arg-type]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs pipes")
def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "model.fl")
    with pytest.raises(CheckpointError, match="a device or a pipe"):
        load_learner(tmp_path / "model.fl")


# Folders of format 1


def test_a_folder_of_format_1_loads(network: VisionModel, bundle: Path, tmp_path: Path) -> None:
    folder = written_folder(tmp_path / "odd 名 'n\name", network)
    found, wanted = load_learner(folder).predict(PICTURE), load_learner(bundle).predict(PICTURE)
    assert found.label == wanted.label and torch.equal(found.probabilities, wanted.probabilities)


def test_weights_of_another_writing_are_refused(network: VisionModel, tmp_path: Path) -> None:
    folder = written_folder(tmp_path / "model", network)
    data = bytearray((folder / WEIGHTS).read_bytes())
    data[-5] ^= 1
    (folder / WEIGHTS).write_bytes(data)
    with pytest.raises(DamagedFileError, match=f"it is not the file that {CARD} was written with"):
        load_learner(folder)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"vocab": ["a"]}, "1 outputs|contradicts itself"),
        ({"vocab": 3}, "is damaged: .*vocab"),
        ({"task": "poetry"}, "its task is 'poetry'"),
        ({"preprocess": {"size": [1]}}, "has a size that cannot be"),
        ({"architecture": None}, "is damaged"),
    ],
)
def test_a_card_of_format_1_that_does_not_fit(
    network: VisionModel, tmp_path: Path, changes: dict[str, object], said: str
) -> None:
    with pytest.raises(CheckpointError, match=said):
        load_learner(written_folder(tmp_path / "model", network, **changes))


# Writing


@pytest.mark.parametrize(
    ("typed", "name"), [("model.fl", "model.fl"), ("pets", "pets.fl"), ("v1.2", "v1.2.fl"), ("a/b.fl", "b.fl")]
)
def test_names(typed: str, name: str) -> None:
    assert bundle_path(typed).name == name


@pytest.mark.parametrize("typed", ["export.pkl", "model.pth", "model.onnx", "x.safetensors"])
def test_endings_of_other_files_are_refused(typed: str) -> None:
    with pytest.raises(ConfigError, match=f"Call it '{Path(typed).stem}.fl'"):
        bundle_path(typed)


def test_a_folder_is_no_name(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is a folder. Name a file, such as"):
        bundle_path(tmp_path)


def test_a_place_that_cannot_be_written(members: Members, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(CheckpointError, match="Cannot write the model to .*Name another file"):
        write_bundle(tmp_path / "file" / "model.fl", members)


def test_a_full_disk_leaves_the_older_model_whole(
    members: Members, bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    before = bundle.read_bytes()
    monkeypatch.setattr(os, "fsync", full)
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(total=10**9, free=100))
    said = r"(?s)No space left on device\. It takes .*, and 100 bytes are free in .* untouched\. Free some space"
    with pytest.raises(CheckpointError, match=said):
        write_bundle(bundle, members | {CARD: b"{}"})
    assert bundle.read_bytes() == before and os.listdir(bundle.parent) == ["model.fl"]


# Damage at random places


def _answers_as_before_or_says_so(file: Path, data: bytes, wanted: torch.Tensor) -> bool:
    """Whether a damaged file was refused; if not, it must answer as the sound one. A few seconds at most."""
    file.write_bytes(data)
    start = time.perf_counter()
    try:
        found = load_learner(file).predict(PICTURE).probabilities
    except CheckpointError as error:
        assert str(file) in str(error) or "damaged" in str(error)
        return True
    finally:
        assert time.perf_counter() - start < 60
    assert torch.equal(found, wanted)
    return False


def _attack(bundle: Path, n: int, seed: int) -> int:
    """Flips a bit, and cuts, at `n` places, half of them among the zip's own records; how many were refused."""
    rng, whole = random.Random(seed), bundle.read_bytes()
    wanted, file = load_learner(bundle).predict(PICTURE).probabilities, bundle.with_name("damaged.fl")
    ends = [*range(3_000), *range(len(whole) - 1_000, len(whole))]
    refused = 0
    for k in range(n):
        place = rng.choice(ends) if k % 2 else rng.randrange(len(whole))
        flipped = bytearray(whole)
        flipped[place] ^= 1 << rng.randrange(8)
        refused += _answers_as_before_or_says_so(file, bytes(flipped), wanted)
        refused += _answers_as_before_or_says_so(file, whole[:place], wanted)
    return refused


def test_damage_is_named(bundle: Path) -> None:
    assert _attack(bundle, 6, seed=0) > 6


@pytest.mark.soak
def test_damage_at_many_places_is_named(bundle: Path) -> None:
    assert _attack(bundle, 1_000, seed=1) > 1_500


def test_two_zips_in_one_are_refused_or_read_as_one(members: Members, bundle: Path) -> None:
    """Whoever reads a zip from its front, and whoever from its end, sees the same."""
    second = io.BytesIO()
    with zipfile.ZipFile(second, "w") as zipped:
        zipped.writestr("evil.py", "print(1)")
    bundle.write_bytes(second.getvalue() + bundle.read_bytes())
    assert read_bundle(bundle) == members
    bundle.write_bytes(bundle.read_bytes() + second.getvalue())
    with pytest.raises(DamagedFileError, match="evil.py"):
        read_bundle(bundle)


def test_writing_again_replaces(members: Members, bundle: Path, tmp_path: Path) -> None:
    before = bundle.read_bytes()
    assert written(tmp_path, members).read_bytes() == before
