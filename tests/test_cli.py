"""The console command, typed as a user types it."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import zipfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from fastlearn.cli import main
from fastlearn.data.block import RegressionBlock
from fastlearn.vision.data import ImageDataLoaders
from fastlearn.vision.learner import vision_learner
from fastlearn.vision.transforms import Resize

SMALL = ["--arch", "mobilenetv3_small_050", "--no-pretrained", "--size", "32", "--epochs", "1", "--workers", "0"]
ODD = ["plain.png", "two words.png", "名前 é.png", "a\nline.png", "-dash.png", "q'uote\".png", "😀.png"]


def make_pictures(root: Path, names: list[str]) -> Path:
    """Red and blue noise, one folder a colour."""
    rng = np.random.default_rng(0)
    for k, label in enumerate(["red ones", "蓝"]):
        (root / label).mkdir(parents=True)
        for name in names:
            pixels = rng.integers(0, 60, (40, 50, 3), np.uint8)
            pixels[..., 2 * k] += 180
            Image.fromarray(pixels).save(root / label / name)
    return root


def snapshot(root: Path) -> dict[str, tuple[int, int]]:
    return {str(file): (file.stat().st_size, file.stat().st_mtime_ns) for file in sorted(root.rglob("*"))}


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_pictures(tmp_path_factory.mktemp("data") / "odd & pictures", ODD)


@pytest.fixture(scope="module")
def model(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("out") / "new" / "the model"
    assert main(["train", str(pictures), *SMALL, "--out", str(out), "--augment"]) == 0
    return out.with_name("the model.fl")


def test_train_writes_one_file_and_nothing_else(pictures: Path, model: Path) -> None:
    assert sorted(os.listdir(model.parent)) == ["the model.fl"]
    assert not (pictures / "models").exists()
    with zipfile.ZipFile(model) as zipped:
        card = json.loads(zipped.read("model.json"))
    assert card["answers"]["vocab"] == ["red ones", "蓝"]
    assert card["architecture"]["name"] == "mobilenetv3_small_050"
    assert card["preprocess"]["size"] == [32, 32]
    assert card["training"]["seed"] == 0 and card["training"]["data"] == "odd & pictures"
    assert str(pictures.parent) not in json.dumps(card)


def test_the_same_seed_gives_the_same_model(pictures: Path, model: Path, tmp_path: Path) -> None:
    assert main(["train", str(pictures), *SMALL, "--out", str(tmp_path / "again"), "--augment"]) == 0
    assert (tmp_path / "again.fl").read_bytes() == model.read_bytes()


def test_predict_answers_every_picture_that_it_can(
    pictures: Path, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "bad.jpg").write_text("no picture")
    folder = pictures / "蓝"
    images = [str(folder / ODD[0]), str(tmp_path / "bad.jpg"), str(tmp_path / "none.png"), str(folder / ODD[3])]
    assert main(["predict", str(model), *images]) == 1
    said = capsys.readouterr()
    lines = said.out.splitlines()
    assert len(lines) == 2
    assert lines[0].endswith(f"%  {folder / ODD[0]}") and "\\nline.png" in lines[1]
    assert [line.split("  ")[0].strip() in ("red ones", "蓝") for line in lines] == [True, True]
    assert "bad.jpg is not a picture" in said.err and "There is no file" in said.err
    assert "Traceback" not in said.err


def test_predict_as_json(pictures: Path, model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    images = [str(pictures / "蓝" / name) for name in ODD]
    assert main(["predict", "--json", str(model), *images]) == 0
    records = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [record["file"] for record in records] == images
    for record in records:
        chances = record["probabilities"]
        assert sum(chances.values()) == pytest.approx(1, abs=1e-5)
        assert record["label"] == max(chances, key=chances.get)


def test_predict_of_several_labels_and_of_numbers(
    pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def ask(name: str, column: object, **options: object) -> tuple[str, dict[str, object]]:
        file = str(pictures / "蓝" / ODD[0])
        table = pd.DataFrame({"name": [f"蓝/{one}" for one in ODD], "tags": ["a b", "b"] * 3 + ["a"], "x": 1.5})
        given = {"label_col": column, "item_tfms": Resize(32), "device": "cpu", "num_workers": 0, "seed": 0}
        dls = ImageDataLoaders.from_df(table, pictures, **given | options)
        learn = vision_learner(dls, SMALL[1], pretrained=False, seed=0)
        path = str(learn.export(tmp_path / name))
        assert main(["predict", path, file]) == main(["predict", "--json", path, file]) == 0
        line, record = capsys.readouterr().out.splitlines()[-2:]
        return line.removesuffix(f"  {file}"), json.loads(record)

    line, record = ask("tags", "tags", label_delim=" ")
    assert record["probabilities"].keys() == {"a", "b"}
    shown = [f"{label} {record['probabilities'][label]:.1%}" for label in record["label"]]
    assert line == (", ".join(shown) or "(no label)")
    line, record = ask("numbers", "x", y_block=RegressionBlock)
    assert record.keys() == {"file", "label"} and float(line) == pytest.approx(record["label"], rel=1e-5)


def test_check_reports_and_changes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = make_pictures(tmp_path / "pets", ["1.png", "2.png", "3.png"])
    before = snapshot(root)
    assert main(["check", str(root)]) == 0
    assert "6 pictures checked" in capsys.readouterr().out
    assert snapshot(root) == before
    (root / "蓝" / "4.jpg").touch()
    before = snapshot(root)
    assert main(["check", "--quick", str(root)]) == 1
    out = capsys.readouterr().out
    assert "4.jpg" in out and "empty (0 bytes)" in out
    assert snapshot(root) == before


def test_check_of_wrong_names(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = make_pictures(tmp_path / "pets", ["1.png", "2.png", "3.png"])
    (root / "蓝" / "1.png").rename(root / "蓝" / "1.jpg")
    assert main(["check", str(root)]) == 1
    assert "1.jpg is PNG" in capsys.readouterr().out
    assert main(["check", "--allow-wrong-names", str(root)]) == 0
    assert "1.jpg is PNG" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["check", "{tmp}/pest"], "pest is no folder. Did you mean 'pets'?"),
        (["check", "{tmp}/a.txt"], "a.txt is a file, not a folder"),
        (["check", "{tmp}/empty"], "empty"),
        (["train", "{tmp}/pest"], "pest"),
        (["train", "{tmp}/empty"], "empty"),
        (["train", "{tmp}/pets", "--arch", "resnet81", "--out", "{tmp}/m"], "resnet18"),
        (["train", "{tmp}/pets", *SMALL, "--epochs", "0"], "--epochs 0"),
        (["train", "{tmp}/pets", *SMALL, "--lr", "-1"], "lr"),
        (["train", "{tmp}/pets", *SMALL, "--lr", "nan"], "lr"),
        (["train", "{tmp}/pets", *SMALL, "--bs", "0"], "0"),
        (["train", "{tmp}/pets", *SMALL, "--bs", "1000"], "1000"),
        (["train", "{tmp}/pets", *SMALL, "--size", "0"], "size"),
        (["train", "{tmp}/pets", *SMALL, "--valid-pct", "1.5"], "1.5"),
        (["train", "{tmp}/pets", *SMALL, "--workers", "-1"], "-1"),
        (["train", "{tmp}/pets", *SMALL, "--out", "{tmp}/m.pth"], "Call it 'm.fl'"),
        (["train", "{tmp}/pets", *SMALL, "--out", "{tmp}/pets"], "is a folder. Name a file"),
        (["train", "{tmp}/pets", *SMALL, "--out", "{tmp}/a.txt/m"], "a.txt. Name another place with --out FILE"),
        (["train", "{tmp}/bad", *SMALL], "cut off"),
        (["predict", "{tmp}/pets", "{tmp}/x.png"], "is a folder without a model in it"),
        (["predict", "{tmp}/a.txt", "{tmp}/x.png"], "is empty (0 bytes)"),
        (["predict", "{tmp}/pest.fl", "{tmp}/x.png"], "There is no file"),
        (["demo", "--out", "{tmp}/a.txt"], "Cannot make the folder"),
    ],
)
def test_a_fault_is_one_message(
    args: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    make_pictures(tmp_path / "pets", ["1.png", "2.png", "3.png", "4.png"])
    make_pictures(tmp_path / "bad", ["1.png", "2.png", "3.png", "4.png"])
    cut = tmp_path / "bad" / "蓝" / "1.png"
    cut.write_bytes(cut.read_bytes()[:300])
    (tmp_path / "empty").mkdir()
    (tmp_path / "a.txt").touch()
    monkeypatch.chdir(tmp_path)
    before = snapshot(tmp_path)
    assert main([arg.format(tmp=tmp_path) for arg in args]) == 2
    err = capsys.readouterr().err
    assert err.startswith(f"fastlearn {args[0]}: ") and said in err
    assert snapshot(tmp_path) == before


def test_a_model_is_not_replaced_unasked(pictures: Path, model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = snapshot(model.parent)
    assert main(["train", str(pictures), *SMALL, "--out", str(model)]) == 2
    assert "is there already. Add --overwrite" in capsys.readouterr().err
    assert snapshot(model.parent) == before


def test_bad_files_can_be_left_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = make_pictures(tmp_path / "pets", ["1.png", "2.png", "3.png", "4.png"])
    (root / "蓝" / "9.png").touch()
    assert main(["train", str(root), *SMALL, "--skip-bad", "--out", str(tmp_path / "m")]) == 0
    assert "fastlearn predict" in capsys.readouterr().out


def test_ctrl_c(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def interrupted(*args: object, **kwargs: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("fastlearn.data.checks.check_folder", interrupted)
    assert main(["check", "x"]) == 130
    assert "Interrupted" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("number", "code", "said"), [(signal.SIGINT, 130, "Interrupted."), (signal.SIGTERM, 143, "Terminated.")]
)
@pytest.mark.parametrize("where", ["fastlearn.learner.Learner.fine_tune", "fastlearn.vision.export.export_learner"])
def test_an_interrupted_training_leaves_nothing(
    pictures: Path, tmp_path: Path, number: int, code: int, said: str, where: str,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.setattr(where, lambda *_, **__: signal.raise_signal(number))
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    assert main(["train", str(pictures), *SMALL, "--out", str(tmp_path / "a" / "model")]) == code
    assert capsys.readouterr().err.strip().splitlines()[-1] == said
    assert list(tmp_path.iterdir()) == []
    assert before == (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT))


def test_a_job_that_ignores_ctrl_c_can_be_terminated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fastlearn.data.checks.check_folder", lambda *_, **__: signal.raise_signal(signal.SIGTERM))
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        assert main(["check", "x"]) == 143
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_model_that_another_process_wrote_meanwhile_is_kept(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "m.fl"
    monkeypatch.setattr("fastlearn.learner.Learner.fine_tune", lambda *_, **__: out.write_text("another"))
    assert main(["train", str(pictures), *SMALL, "--out", str(out)]) == 0
    assert out.read_text() == "another" and (tmp_path / "m-2.fl").is_file()
    assert "m-2.fl. Ask it: fastlearn predict" in capsys.readouterr().out


def test_a_full_disk_is_told_before_the_training(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(total=10**9, free=100))
    monkeypatch.setattr("fastlearn.learner.Learner.fine_tune", None)
    assert main(["train", str(pictures), *SMALL, "--out", str(tmp_path / "m")]) == 2
    err = capsys.readouterr().err
    assert "No room for the model. It takes" in err and "100 bytes are free" in err and "--out FILE" in err
    assert list(tmp_path.iterdir()) == []


def test_without_a_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    said = capsys.readouterr().err
    assert all(f"    {command} " in said for command in ("demo", "train", "predict", "check"))


def test_help_is_there_at_once() -> None:
    code = (
        "import sys\nfrom fastlearn.cli import main\n"
        "try:\n    main(['train', '--help'])\nexcept SystemExit as end:\n    assert end.code == 0\n"
        "assert not {'torch', 'numpy', 'matplotlib'} & set(sys.modules), 'heavy imports'\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "train/<class>/*.jpg" in done.stdout


def test_a_poor_terminal_gets_escapes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = make_pictures(tmp_path / "pets", ["1.png", "2.png"])
    (root / "蓝" / "é.png").touch()
    shown = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(shown, "ascii"))
    assert main(["check", str(root)]) == 1
    sys.stdout.flush()
    assert b"\\u84dd/\\xe9.png" in shown.getvalue()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs a POSIX shell")
def test_a_reader_that_leaves_is_no_error(tmp_path: Path) -> None:
    root = make_pictures(tmp_path / "pets", ["1.png", "2.png"])
    command = f'"{sys.executable}" -m fastlearn check "{root}" | true; echo "${{PIPESTATUS[0]}}"'
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert "Traceback" not in done.stderr and "Exception" not in done.stderr, done.stderr


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_a_full_disk_behind_the_output_is_one_message(tmp_path: Path) -> None:
    root = make_pictures(tmp_path / "pets", ["1.png", "2.png"])
    with open("/dev/full", "w") as full:
        command = [sys.executable, "-m", "fastlearn", "check", str(root)]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 2
    assert "No space left" in done.stderr and "Traceback" not in done.stderr, done.stderr
