"""`load_learner`: the answers of the network that was written, and nothing of a bundle that contradicts itself."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from bundles import ANSWERS, PICTURE, PREPROCESS, SPEC, VOCAB, members_of, small_network, with_card, written

from fastlearn.arch.spec import VisionModel
from fastlearn.errors import CheckpointError, MissingExtraError
from fastlearn.export import load_learner
from fastlearn.export.bundle import SAMPLE, WEIGHTS
from fastlearn.export.sample import Sample
from fastlearn.runtime.tensor_bytes import save_tensors

Members = dict[str, bytes]


def test_predictions_are_those_of_the_network(network: VisionModel, bundle: Path) -> None:
    loaded = load_learner(bundle)
    assert loaded.vocab == VOCAB and loaded.preprocess == PREPROCESS and loaded.answers == ANSWERS
    with torch.inference_mode():
        wanted = torch.nn.functional.softmax(network(PREPROCESS.batch([PICTURE])), 1)[0]
    label, index, probabilities = loaded.predict(PICTURE)
    torch.testing.assert_close(probabilities, wanted, rtol=0, atol=0)
    assert index == wanted.argmax() and label == VOCAB[int(index)]


def test_loading_draws_nothing_from_the_generator(bundle: Path) -> None:
    before = torch.random.get_rng_state()
    load_learner(bundle)
    assert torch.equal(before, torch.random.get_rng_state())


def test_no_training_code_is_imported(bundle: Path) -> None:
    code = (
        "import sys\nfrom fastlearn.export import load_learner\n"
        f"model = load_learner({str(bundle)!r})\n"
        "parts = {name.split('.')[1] for name in sys.modules if name.startswith('fastlearn.')}\n"
        "print(sorted(parts & {'training', 'learner', 'callbacks', 'data', 'live', 'vision', 'losses', 'task'}))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_the_repr(bundle: Path) -> None:
    assert repr(load_learner(bundle)) == (
        r"TrainedModel(classification of 3 labels (chat, 猫, 'c\nat'); squeezenet1_1 of torchvision; "
        "RGB pictures of 64x64)"
    )


ARCHITECTURE = SPEC.to_json()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"architecture": {**ARCHITECTURE, "n_out": 4}}, "contradicts itself: a network of 3 channels and 4 outputs"),
        ({"architecture": {**ARCHITECTURE, "n_in": 1}}, "contradicts itself: a network of 1 channels"),
        (
            {"architecture": {**ARCHITECTURE, "name": "squeezenet1_0"}},
            r"does not fit squeezenet1_0 of torchvision: .* '0.0.0.bias' is \(64,\), expected \(96,\)",
        ),
        ({"architecture": {**ARCHITECTURE, "name": "vgg19_bn"}}, "'0.0.1.bias' is missing"),
        ({"architecture": {**ARCHITECTURE, "head": "none"}}, "describes no model: .*none"),
        ({"architecture": {**ARCHITECTURE, "lin_ftrs": [10**9]}}, r"expected \(1000000000"),
        ({"architecture": {**ARCHITECTURE, "lin_ftrs": [1] * 10**5}}, "asks for 100,000 layers"),
        ({"architecture": {**ARCHITECTURE, "lin_ftrs": [-1]}}, "does not fit squeezenet1_1"),
        ({"architecture": {**ARCHITECTURE, "lin_ftrs": ["a"]}}, "describes no model: Expected `int`"),
        ({"architecture": {**ARCHITECTURE, "name": "os.system"}}, "describes no model: .*cannot be built"),
        ({"architecture": {**ARCHITECTURE, "library": "callable"}}, "describes no model"),
        ({"architecture": {**ARCHITECTURE, "code": "1"}}, "Unknown entry 'code'"),
        ({"architecture": None}, "has no ONNX program in it"),
        ({"architecture": "resnet18"}, "is damaged: Expected"),
        ({"preprocess": {**PREPROCESS.to_json(), "size": [32, 32]}}, "is of another model: 3 channels of 64x64"),
        ({"preprocess": {**PREPROCESS.to_json(), "mean": [0.1, 0.5, 0.5]}}, "the answer is off by"),
        ({"preprocess": {"size": [0, 1]}}, "has a size that cannot be"),
        ({"answers": {"task": "classification", "activation": "sigmoid", "n_out": 3, "vocab": list("abc")}}, "off by"),
        ({"answers": {"task": "classification", "activation": "softmax", "n_out": 3, "vocab": ["a"]}}, "do not fit"),
        ({"answers": "drop"}, "is damaged: .*answers"),
        ({"hooks": ["import os"]}, "is damaged: .*hooks"),
        ({"format": 7}, "has format 7"),
    ],
)
def test_a_card_that_does_not_fit_is_refused(
    members: Members, tmp_path: Path, changes: dict[str, Any], said: str
) -> None:
    with pytest.raises(CheckpointError, match=said) as error:
        load_learner(written(tmp_path, with_card(members, **changes)))
    assert "model.fl" in str(error.value)


def test_other_weights_are_found_by_the_sample(members: Members, tmp_path: Path) -> None:
    other = small_network()
    with torch.no_grad():
        next(other.head.parameters()).add_(0.5)
    with pytest.raises(CheckpointError, match=r"(?s)off by 0\.\d+, and 0.0001 is allowed.*Export it again"):
        load_learner(written(tmp_path, {**members, WEIGHTS: save_tensors(other.state_dict())}))


def test_a_sample_that_does_not_agree(members: Members, tmp_path: Path) -> None:
    sample = Sample.from_bytes(members[SAMPLE], "it")
    off = Sample(sample.pixels, sample.expected + torch.tensor([[2e-4, -2e-4, 0]]))
    with pytest.raises(CheckpointError, match="off by 0.0002, and 0.0001 is allowed"):
        load_learner(written(tmp_path, {**members, SAMPLE: off.to_bytes()}))
    near = Sample(sample.pixels, sample.expected + 5e-5)
    assert load_learner(written(tmp_path, {**members, SAMPLE: near.to_bytes()})).vocab == VOCAB


def test_spoiled_weights_are_found_by_the_sample(members: Members, tmp_path: Path) -> None:
    spoiled = {name: tensor * float("nan") for name, tensor in small_network().state_dict().items()}
    with pytest.raises(CheckpointError, match="off by inf"):
        load_learner(written(tmp_path, {**members, WEIGHTS: save_tensors(spoiled)}))


def test_a_program_that_is_not_there(members: Members, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="has no ONNX program in it. Export it with one.*onnx=True"):
        load_learner(written(tmp_path, members), onnx=True)


def test_a_missing_extra_says_what_to_type(members: Members, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    file = written(tmp_path, {**with_card(members, architecture=None), "model.onnx": b"x"})
    with pytest.raises(
        MissingExtraError, match=r'package onnxruntime is missing. Type pip install "fastlearn\[export\]"'
    ):
        load_learner(file)


def test_a_bundle_of_members_made_here(network: VisionModel) -> None:
    assert members_of(network, licence="MIT").keys() == {"model.json", WEIGHTS, SAMPLE}
