from __future__ import annotations

import errno
import json
import os
import stat
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny import assert_same, everything, halves, make_learner, shuffled, small_net, weights
from torch import nn

from fastlearn.data.dataloaders import DataLoaders
from fastlearn.errors import CheckpointError
from fastlearn.metrics import accuracy
from fastlearn.training import checkpoint
from fastlearn.training.checkpoint import (
    checkpoint_path,
    from_json,
    json_safe,
    pack_optimizer,
    read_checkpoint,
    unpack_optimizer,
    write_checkpoint,
)
from fastlearn.training.lookahead import ranger
from fastlearn.training.optimizer import SGD, Adam
from fastlearn.training.optimizers_extra import Lamb, QHAdam


def learner_in(folder, **options):
    return make_learner(small_net(0.3), shuffled(), path=folder, metrics=accuracy, **options)


@pytest.mark.parametrize("optimizer", [Adam, SGD, ranger, Lamb, QHAdam, torch.optim.AdamW, torch.optim.Adagrad])
def test_training_after_load_is_training_without_the_detour(tmp_path, optimizer):
    straight = learner_in(tmp_path, opt_func=optimizer)
    straight.fit_one_cycle(1, 0.01)
    assert straight.save("half") == tmp_path / "models" / "half.safetensors"
    torch.manual_seed(0)
    straight.fit_one_cycle(2, 0.01)
    detour = learner_in(tmp_path, opt_func=optimizer, seed=999)
    detour.fit(1, 0.1)  # something to overwrite
    assert detour.load("half") is detour and detour.seed == 1
    torch.manual_seed(0)
    detour.fit_one_cycle(2, 0.01)
    ours, theirs = everything(detour), everything(straight)
    for state in (ours, theirs):  # the generators outside have lived on
        del state["numpy"], state["python"]
    assert_same(ours, theirs)


def test_without_the_optimizer(tmp_path):
    learner = learner_in(tmp_path)
    learner.fit(1, 0.01)
    learner.save("bare", with_opt=False)
    assert not any(name.startswith("optimizer/") for name in load_file(tmp_path / "models" / "bare.safetensors"))
    learner.save("full")
    other = learner_in(tmp_path)
    other.load("full", with_opt=False)
    assert other.opt is None
    assert_same(weights(other), weights(learner))


def test_channels_last_weights_and_moments_keep_their_format(tmp_path):
    def make():
        torch.manual_seed(0)
        body = [nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.AdaptiveAvgPool2d(1)]
        model = nn.Sequential(*body, nn.Flatten(), nn.Linear(4, 3))
        generator = torch.Generator().manual_seed(1)
        pairs = [(torch.randn(4, 3, 6, 6, generator=generator), torch.arange(4) % 3) for _ in range(3)]
        return make_learner(model, DataLoaders(pairs, device="cpu"), path=tmp_path).to_channelslast()

    straight = make().fit(1, 0.01)
    straight.save("last")
    straight.fit(1, 0.01)
    detour = make().load("last")
    assert detour.model[0].weight.is_contiguous(memory_format=torch.channels_last)
    moments = detour.opt.state[detour.model[0].weight]
    assert moments["exp_avg"].stride() == detour.model[0].weight.stride()
    assert_same(weights(detour.fit(1, 0.01)), weights(straight))


def test_tied_weights_stay_tied(tmp_path):
    def make():
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(6, 6), nn.ReLU(), nn.Linear(6, 6), nn.Linear(6, 3))
        model[2].weight = model[0].weight
        return make_learner(model, path=tmp_path)

    straight = make().fit(1, 0.01)
    straight.save("tied")
    detour = make().load("tied")
    assert detour.model[2].weight is detour.model[0].weight
    assert_same(weights(detour.fit(1, 0.01)), weights(straight.fit(1, 0.01)))


def test_nan_in_the_history_survives(tmp_path):
    learner = learner_in(tmp_path)
    learner.fit(1, 0.01)
    learner.recorder.epochs[0] |= {"valid_loss": float("-inf"), "accuracy": float("nan")}
    learner.recorder.values[0][1:] = [float("-inf"), float("nan")]
    learner.save("nan")
    back = learner_in(tmp_path).load("nan").recorder
    assert_same(back.state_dict(), learner.recorder.state_dict())


def test_json_has_no_numbers_for_nan_and_infinity():
    value = {"a": [float("nan"), 1.5, (float("inf"),)], "b": "float", "c": None, "d": -float("inf")}
    text = json.dumps(json_safe(value), allow_nan=False)
    back = from_json(json.loads(text))
    assert back["a"][0] != back["a"][0] and back["a"][1:] == [1.5, [float("inf")]]
    assert (back["b"], back["c"], back["d"]) == ("float", None, -float("inf"))


def test_names_get_their_folder_and_suffix(tmp_path):
    assert checkpoint_path(tmp_path, "a") == tmp_path / "a.safetensors"
    assert checkpoint_path(tmp_path, "a.safetensors") == tmp_path / "a.safetensors"
    assert checkpoint_path(tmp_path, "lite.v0") == tmp_path / "lite.v0.safetensors"
    assert checkpoint_path(tmp_path, tmp_path / "x" / "b") == tmp_path / "x" / "b.safetensors"


@pytest.fixture
def saved(tmp_path):
    learner = learner_in(tmp_path)
    learner.fit(1, 0.01)
    return learner.save("good")


def assert_fails(learner, name, message, **options):
    """Loading fails with the message, and the learner is as before."""
    learner.create_opt()
    before = everything(learner)
    with pytest.raises(CheckpointError, match=message):
        learner.load(name, **options)
    assert_same(everything(learner), before)


def test_a_missing_file_names_what_is_there(tmp_path, saved):
    assert_fails(learner_in(tmp_path), "goood", r"no goood.safetensors in .*Did you mean 'good'\?.*It has: good\.")
    assert_fails(
        learner_in(tmp_path / "elsewhere"), "good", "There is no folder .*models, so nothing was saved there yet"
    )
    (tmp_path / "models" / "old.pth").write_bytes(b"pickle")
    assert_fails(
        learner_in(tmp_path), "old", r"old\.pth is: a pickle, which fastlearn does not load.*weights_only=True"
    )


@pytest.mark.parametrize("keep", [0, 4, 100, 0.5, -1])
def test_a_truncated_file(tmp_path, saved, keep):
    whole = saved.read_bytes()
    saved.write_bytes(whole[: int(keep * len(whole)) if isinstance(keep, float) else keep])
    assert_fails(learner_in(tmp_path), "good", r"good\.safetensors is damaged: it")


def test_a_changed_byte_anywhere_is_found(tmp_path, saved):
    learner, whole = learner_in(tmp_path), saved.read_bytes()
    before = weights(learner)
    for at in range(0, len(whole), 97):
        saved.write_bytes(whole[:at] + bytes([whole[at] ^ 0x10]) + whole[at + 1 :])
        with pytest.raises(CheckpointError):
            learner.load("good")
        assert_same(weights(learner), before)
    saved.write_bytes(whole)
    learner.load("good")


def test_a_file_of_every_earlier_format_is_read(tmp_path):
    files = sorted((Path(__file__).parent / "formats").glob("learner-*.safetensors"))
    assert [int(file.stem.removeprefix("learner-")) for file in files] == list(range(1, checkpoint.FORMAT))
    for file in files:
        learner = learner_in(tmp_path).load(file)
        assert learner.epoch == 1 and learner.recorder.final_value("train_loss") > 0
        tensors = load_file(file)
        assert all(torch.equal(t, tensors[f"model/{name}"]) for name, t in learner.model.state_dict().items())


def test_a_damaged_header_or_metadata(tmp_path, saved):
    whole = bytearray(saved.read_bytes())
    whole[20] ^= 0xFF
    saved.write_bytes(bytes(whole))
    assert_fails(learner_in(tmp_path), "good", "damaged")
    save_file({"model/x": torch.zeros(1)}, saved, metadata={"fastlearn": "{not json"})
    assert_fails(learner_in(tmp_path), "good", "damaged")
    save_file({"model/x": torch.zeros(1)}, saved, metadata={"fastlearn": "[" * 100_000})
    assert_fails(learner_in(tmp_path), "good", "damaged|not written by fastlearn")


def test_a_foreign_file_and_a_newer_format(tmp_path, saved):
    save_file({"weight": torch.zeros(1)}, saved)
    assert_fails(learner_in(tmp_path), "good", "holds tensors, but was not written by fastlearn's save")
    save_file({"weight": torch.zeros(1)}, saved, metadata={"fastlearn": '{"format": 99}'})
    assert_fails(learner_in(tmp_path), "good", "has format 99; this fastlearn reads 1")


def test_another_architecture(tmp_path, saved):
    wider = nn.Sequential(nn.Linear(6, 13), nn.BatchNorm1d(13), nn.ReLU(), nn.Dropout(0.3), nn.Linear(13, 3))
    learner = make_learner(wider, path=tmp_path)
    assert_fails(learner, "good", r"other shapes: .*\(12, 6\) in the file, \(13, 6\) in the model")
    assert_fails(learner, "good", "other shapes", strict=False)
    other = make_learner(nn.Linear(6, 3), path=tmp_path)
    assert_fails(other, "good", "not in the file: bias, weight.*only in the file: 0.bias")


def test_parts_of_the_weights_with_strict_off(tmp_path, saved):
    torch.manual_seed(7)
    deeper = nn.Sequential(*small_net(), nn.ReLU(), nn.Linear(3, 3))
    learner = make_learner(deeper, path=tmp_path)
    learner.load("good", with_opt=False, strict=False)
    assert torch.equal(learner.model[0].weight, read_checkpoint(saved)[0]["model/0.weight"])


def test_another_optimizer_or_other_groups(tmp_path, saved):
    assert_fails(
        learner_in(tmp_path, opt_func=SGD),
        "good",
        "is the state of Adam, and the optimizer is SGD. Make the learner with the same",
    )
    assert_fails(learner_in(tmp_path, splitter=halves), "good", "groups of parameters differ.*with_opt=False")
    learner_in(tmp_path, splitter=halves).load("good", with_opt=False)


@pytest.mark.parametrize("change", [{"state": None}, {"param_groups": [{}]}, {"state": {"x": {}}}, {"type": None}])
def test_an_optimizer_that_makes_no_sense(change):
    learner = make_learner()
    learner.fit(1, 0.01)
    tensors, meta = pack_optimizer(learner.opt)
    with pytest.raises(CheckpointError):
        unpack_optimizer(learner.opt, tensors, meta | change)


def test_an_optimizer_that_json_cannot_hold():
    model = nn.Linear(2, 2)
    optimizer = torch.optim.LBFGS(model.parameters())
    optimizer.state[model.weight] = {"old_dirs": [torch.zeros(2)]}
    with pytest.raises(CheckpointError, match=r"state of LBFGS cannot be saved without pickle.*with_opt=False"):
        pack_optimizer(optimizer)


def fail_with(error):
    def fail(*args, **kwargs):
        raise error

    return fail


@pytest.mark.parametrize(
    ("place", "error"),
    [
        ("write", OSError(errno.ENOSPC, "No space left on device")),
        ("replace", OSError(errno.EIO, "Input/output error")),
        ("replace", KeyboardInterrupt()),
        ("fsync", OSError(errno.ENOSPC, "No space left on device")),
        ("write", MemoryError()),
    ],
)
def test_a_failed_save_keeps_the_old_file_and_leaves_no_litter(tmp_path, saved, monkeypatch, place, error):
    old = saved.read_bytes()
    learner = learner_in(tmp_path)
    if place == "write":
        monkeypatch.setattr("fastlearn.runtime.disk.write_new", fail_with(error))
    else:
        monkeypatch.setattr(checkpoint.os, place, fail_with(error))
    expected = KeyboardInterrupt if isinstance(error, KeyboardInterrupt) else CheckpointError
    with pytest.raises(expected) as caught:
        learner.save("good")
    monkeypatch.undo()
    assert expected is KeyboardInterrupt or "What was there before is untouched" in str(caught.value)
    assert saved.read_bytes() == old and os.listdir(saved.parent) == ["good.safetensors"]
    learner.load("good")


def test_a_save_overwrites_whole(tmp_path, saved):
    learner = learner_in(tmp_path).load("good")
    learner.fit(1, 0.01)
    learner.save("good")
    assert os.listdir(saved.parent) == ["good.safetensors"]
    assert_same(weights(learner_in(tmp_path).load("good")), weights(learner))


@pytest.mark.skipif(not hasattr(os, "getuid") or os.getuid() == 0, reason="root may write anywhere")
def test_a_folder_that_cannot_be_written(tmp_path):
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(CheckpointError, match="Cannot write in .*Permission denied.*path= or model_dir="):
            learner_in(tmp_path).save("a")
    finally:
        tmp_path.chmod(0o700)


def test_a_file_where_the_folder_should_be(tmp_path):
    (tmp_path / "models").write_text("in the way")
    with pytest.raises(CheckpointError, match="Cannot write in .*models"):
        learner_in(tmp_path).save("a")
    assert (tmp_path / "models").read_text() == "in the way"


@pytest.mark.skipif(os.name != "posix", reason="permissions of POSIX")
def test_others_may_read_what_the_umask_lets_them(tmp_path):
    before = os.umask(0o022)
    try:
        path = write_checkpoint(tmp_path / "a.safetensors", {"x": torch.zeros(1)}, {})
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o644


def test_what_json_cannot_hold_is_an_error_before_anything_is_written(tmp_path):
    with pytest.raises(CheckpointError, match="part of it has no form in JSON"):
        write_checkpoint(tmp_path / "a.safetensors", {}, {"x": object()})
    assert os.listdir(tmp_path) == []


def test_views_and_shared_memory_are_written_as_they_look(tmp_path):
    base = torch.arange(12.0).reshape(3, 4)
    tensors = {"base": base, "row": base[1], "across": base.t(), "empty": torch.zeros(0), "scalar": torch.tensor(3)}
    path = write_checkpoint(tmp_path / "a.safetensors", tensors, {})
    assert_same(read_checkpoint(path)[0], tensors)


@pytest.mark.parametrize("name", [None, 3, b"x", "", ".", "a\0b"])
def test_a_name_that_no_file_can_have(name, tmp_path):
    with pytest.raises(CheckpointError, match="name"):
        checkpoint_path(tmp_path, name)


def test_a_name_that_is_too_long(tmp_path):
    with pytest.raises(CheckpointError, match="There is no xxx"):
        read_checkpoint(checkpoint_path(tmp_path, "x" * 300))


def test_a_full_disk_says_how_much_is_missing(tmp_path, monkeypatch):
    learner = learner_in(tmp_path)
    saved = learner.save("a")
    before = saved.read_bytes()
    full = OSError(errno.ENOSPC, "No space left on device")
    monkeypatch.setattr("fastlearn.runtime.disk.write_new", fail_with(full))
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(total=10**9, free=100))
    said = r"a\.safetensors: .*No space left on device\. It takes [\d,]+ bytes, and 100 bytes are free .*untouched"
    with pytest.raises(CheckpointError, match=said):
        learner.save("a")
    assert saved.read_bytes() == before and os.listdir(saved.parent) == ["a.safetensors"]
