from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from tiny import batches, shuffled, small_net
from torch import nn

from fastlearn.data.foreign import ForeignLoader
from fastlearn.errors import DataError
from fastlearn.losses import per_sample
from fastlearn.runtime.precision import Precision
from fastlearn.runtime.seed import RunKey
from fastlearn.training import predict as predict_module
from fastlearn.training.predict import FirstBatches, Network, predict_loader

KEY = RunKey(0, "predict", 0)


def predict(model, given, **options):
    loader = given if hasattr(given, "batches") else ForeignLoader(given, device="cpu")
    return predict_loader(model, loader, options.pop("precision", Precision()), KEY, n_inp=1, **options)


def test_outputs_targets_inputs_and_losses_in_order():
    model, given = small_net(0.5), [*batches(2), (torch.zeros(3, 6), torch.zeros(3, dtype=torch.int64))]
    model.train()
    model[1].eval()
    found = predict(model, given, with_input=True, loss_func=per_sample(F.cross_entropy))
    assert [module.training for module in model] == [True, False, True, True, True]
    x, y = (torch.cat(parts) for parts in zip(*given, strict=True))
    with torch.no_grad():
        expected = model.eval()(x)
    assert torch.equal(found.inputs, x) and torch.equal(found.targets, y)
    assert torch.allclose(found.outputs, expected, atol=1e-6) and not found.outputs.requires_grad
    assert torch.allclose(found.losses, F.cross_entropy(expected, y, reduction="none"), atol=1e-6)


def test_without_targets():
    found = predict(small_net(), [(x,) for x, _ in batches(2)], loss_func=per_sample(F.cross_entropy))
    assert found.targets is None and found.losses is None and found.inputs is None and len(found.outputs) == 32
    assert len(predict(small_net(), [x for x, _ in batches(2)]).outputs) == 32


def test_nested_outputs_are_joined_part_by_part():
    class Nested(nn.Module):
        def forward(self, x):
            return {"pair": (x, [x * 2]), "mean": x.mean()}

    outputs = predict(Nested(), batches(2)).outputs
    assert outputs["pair"][1][0].shape == (32, 6) and outputs["mean"].shape == (2,)


def test_half_precision_gives_single_precision_back():
    model, given = small_net(), batches(2)
    full, half = predict(model, given), predict(model, given, precision=Precision("bf16"))
    assert half.outputs.dtype == torch.float32 and not torch.equal(full.outputs, half.outputs)
    assert torch.allclose(full.outputs, half.outputs, atol=0.05)


def test_modes_are_put_back_after_an_error():
    model = small_net()
    with pytest.raises(
        DataError, match=r"The model Sequential does not take the inputs Tensor \[2, 7\] float32: .*test_dl"
    ):
        predict(model, [(torch.zeros(2, 7), torch.zeros(2))])
    assert model.training


def test_nothing_to_predict():
    with pytest.raises(DataError, match="nothing to predict: the loader gave no batch"):
        predict(small_net(), [])


def test_the_first_batches_are_those_of_the_pass():
    loader = shuffled().train
    first = FirstBatches(loader, 2)
    whole, some = list(loader.batches(KEY)), list(first.batches(KEY))
    assert len(first) == len(some) == 2 and len(FirstBatches(loader, 99)) == len(loader)
    assert all(torch.equal(a[0], b[0]) for a, b in zip(some, whole, strict=False))
    assert torch.equal(next(first.batches(KEY, 1))[0], whole[1][0])


def test_channels_last_inputs():
    class Sees(nn.Module):
        def forward(self, x):
            self.seen = x.is_contiguous(memory_format=torch.channels_last)
            return x.mean((1, 2, 3))[:, None]

    model = Sees()
    predict(model, [(torch.randn(2, 3, 4, 4), torch.zeros(2))], channels_last=True)
    assert model.seen


def pictures(bs: int, n: int = 8) -> list[tuple[torch.Tensor, torch.Tensor]]:
    x = torch.randn(n, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    return [(x[i : i + bs], torch.zeros(len(x[i : i + bs]), dtype=torch.int64)) for i in range(0, n, bs)]


def conv_net() -> nn.Sequential:
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(144, 2))
    nn.init.uniform_(net[1].running_mean)
    return net


def test_many_samples_run_through_folded_norms_and_few_through_the_model(monkeypatch):
    net, calls = conv_net(), []
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    monkeypatch.setattr(nn.BatchNorm2d, "forward", counted(nn.BatchNorm2d.forward, calls))
    few = predict(net, pictures(4))
    assert len(calls) == 2
    monkeypatch.setattr(predict_module, "FOLD_FROM", 8)
    calls.clear()
    many, otherwise = predict(net, pictures(4)), predict(net, pictures(8))
    assert len(calls) == 2  # the first samples of each pass alone, for the comparison
    assert torch.allclose(few.outputs, many.outputs, atol=1e-5)
    assert torch.allclose(many.outputs, otherwise.outputs, atol=1e-6) and net.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in net.state_dict().items())


def counted(function, calls):
    def call(*args):
        calls.append(function)
        return function(*args)

    return call


def test_a_network_is_folded_once_for_all_its_passes_and_counts_their_samples(monkeypatch):
    monkeypatch.setattr(predict_module, "FOLD_FROM", 24)
    net, loader = conv_net(), ForeignLoader(pictures(4), device="cpu")
    xs = loader.one_batch()[:1]
    assert Network(net, loader, 2).of(xs) is net
    network = Network(net, loader, 3)
    made = network.of(xs)
    assert made is not net and network.of(xs) is made
    first, second = predict(net, loader, network=network), predict(net, loader, network=network)
    assert torch.equal(first.outputs, second.outputs) and network.of(xs) is made


def test_outputs_and_what_the_model_keeps_can_be_trained_on():
    class Keeping(nn.Linear):
        def forward(self, x):
            self.kept = super().forward(x)
            return self.kept

    net = Keeping(6, 2)
    found = predict(net, batches(1))
    for made in (found.outputs, net.kept):
        (made * torch.ones(2, requires_grad=True)).sum().backward()


def test_a_model_that_is_in_evaluation_mode_is_not_set_again():
    class Counting(nn.Linear):
        n_calls = 0

        def train(self, mode=True):
            self.n_calls += 1
            return super().train(mode)

    net = Counting(6, 2)
    predict(net, batches(1))
    assert net.n_calls == 1 and net.training
    net.eval()
    predict(net, batches(1))
    assert net.n_calls == 2 and not net.training
