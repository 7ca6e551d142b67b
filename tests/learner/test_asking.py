from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from tiny import assert_same, batches, everything, make_learner, shuffled, small_net, weights
from torch.utils.data import DataLoader as TorchLoader
from torch.utils.data import TensorDataset, WeightedRandomSampler

from fastlearn.data.dataloaders import DataLoaders
from fastlearn.data.loaders import DataLoader
from fastlearn.errors import ConfigError, DataError
from fastlearn.metrics import accuracy


@pytest.fixture
def learner():
    return make_learner(small_net(0.3), metrics=accuracy).fit(1, 0.01)


def expected_outputs(learner, given):
    x, y = (torch.cat(parts) for parts in zip(*given, strict=True))
    learner.model.eval()
    with torch.no_grad():
        return x, y, learner.model(x)


def test_predictions_of_the_validation_set(learner):
    x, y, outputs = expected_outputs(learner, batches(2, seed=1))
    probabilities, targets = learner.get_preds()
    assert torch.equal(targets, y) and torch.allclose(probabilities, outputs.softmax(1), atol=1e-6)
    inputs, again, _, decoded, losses = learner.get_preds(with_input=True, with_decoded=True, with_loss=True)
    assert torch.equal(inputs, x) and torch.equal(again, probabilities) and torch.equal(decoded, outputs.argmax(1))
    assert torch.allclose(losses, F.cross_entropy(outputs, y, reduction="none"), atol=1e-6)


def test_predictions_of_a_list_of_batches_and_another_activation(learner):
    x, y = batches(1, seed=2)[0]
    given = [(x[:10], y[:10]), (x[10:], y[10:])]
    logits, targets = learner.get_preds(dl=given, act=lambda outputs: outputs)
    assert torch.allclose(logits, expected_outputs(learner, given)[2], atol=1e-6) and torch.equal(targets, y)
    probabilities, none = learner.get_preds(dl=[(x,)])
    assert none is None and torch.allclose(probabilities, logits.softmax(1), atol=1e-6)


def test_predictions_of_the_training_set_are_in_order_and_of_every_sample():
    dataset = list(zip(*batches(1, 21)[0], strict=True))
    train = DataLoader(dataset, 4, shuffle=True, drop_last=True, train=True, device="cpu")
    learner = make_learner(dls=DataLoaders(train, DataLoader(dataset, 4, device="cpu")))
    (predictions, targets), (same, expected) = learner.get_preds(0), learner.get_preds(1)
    assert torch.equal(targets, expected) and torch.equal(predictions, same)
    assert learner.validate(0) == learner.validate(1)
    averaged, of_the_same = learner.tta(0, n=2)
    assert torch.equal(of_the_same, expected) and torch.allclose(averaged, same, atol=1e-6)


def test_weighted_sampling_is_no_way_to_predict():
    dls = shuffled()
    dls = DataLoaders(dls.train.new(weights=torch.arange(80.0).numpy()), dls.valid)
    predictions, targets = make_learner(dls=dls).get_preds(0)
    assert len(targets) == 80 and targets.tolist() == [int(y) for _, y in dls.train_ds]


def test_asking_changes_nothing(learner, capsys):
    before = everything(learner)
    learner.get_preds(with_input=True, with_decoded=True, with_loss=True)
    learner.tta(n=2)
    learner.validate()
    learner.summary()
    repr(learner)
    assert_same(everything(learner), before)


def test_tta_weighs_augmented_and_plain():
    """A loader whose augmented passes differ by a known shift of the inputs."""
    learner = make_learner(small_net().eval(), shuffled())
    shifts = []

    class Augmented(DataLoader):
        def batches(self, key, start=0):
            if self.train:
                shifts.append(key)
            shift = 0.1 * (key.epoch + 1) if self.train else 0.0
            for x, y in super().batches(key, start):
                yield x + shift, y

        def new(self, dataset=None, **changes):
            return Augmented(self.dataset, **(self._options() | changes))

    loader = Augmented(learner.dls.valid_ds, 16, device="cpu")
    learner.dls.loaders[1] = loader
    x, y = (torch.stack(parts) for parts in zip(*learner.dls.valid_ds, strict=True))

    def of(shift):
        with torch.no_grad():
            return learner.model(x + shift).softmax(1)

    plain, augmented = of(0), [of(0.1 * (i + 1)) for i in range(4)]
    mean = torch.stack(augmented).mean(0)
    predictions, targets = learner.tta()
    assert torch.allclose(predictions, 0.75 * mean + 0.25 * plain, atol=1e-6) and torch.equal(targets, y)
    assert len(shifts) == len(set(shifts)) == 4
    largest, _ = learner.tta(n=2, use_max=True)
    assert torch.allclose(largest, torch.stack([plain, *augmented[:2]]).amax(0), atol=1e-6)
    first, second, _ = learner.tta(beta=None)
    assert torch.allclose(first, mean, atol=1e-6) and torch.allclose(second, plain, atol=1e-6)
    with pytest.raises(ConfigError, match="tta needs n ≥ 1"):
        learner.tta(n=0)


def test_a_loader_that_is_not_there(learner):
    with pytest.raises(ConfigError, match=r"ds_idx=5, but there are 2 loaders"):
        learner.get_preds(5)
    with pytest.raises(ConfigError):
        make_learner(dls=DataLoaders(batches(), device="cpu")).validate()
    with pytest.raises(ConfigError, match="cannot be iterated"):
        learner.get_preds(dl=7)


def test_predict_and_show_results_need_data_that_fastlearn_knows(learner):
    with pytest.raises(ConfigError, match=r"test_dl needs DataLoaders made by a DataBlock.*get_preds\(dl=…\)"):
        learner.predict(torch.zeros(6))
    with pytest.raises(ConfigError, match="cannot be drawn"):
        learner.show_results()


def test_validate_on_another_loader(learner):
    x, y = batches(1, 40, seed=9)[0]
    given = [(x[:32], y[:32]), (x[32:], y[32:])]
    outputs = expected_outputs(learner, given)[2]
    loss, acc = learner.validate(dl=given)
    assert loss == pytest.approx(F.cross_entropy(outputs, y).item(), rel=1e-5)
    assert acc == pytest.approx((outputs.argmax(1) == y).float().mean().item())


def test_validate_leaves_modes_and_says_when_there_is_nothing(learner):
    learner.model.train()
    learner.model[1].eval()
    modes = [module.training for module in learner.model]
    before = weights(learner)
    learner.validate()
    assert [module.training for module in learner.model] == modes
    assert_same(weights(learner), before)
    with pytest.raises((ConfigError, ValueError), match="no batch"):
        learner.validate(dl=[])


def test_tta_of_a_set_smaller_than_a_batch():
    dls = shuffled()
    learner = make_learner(dls=DataLoaders(dls.train, DataLoader(dls.valid_ds, 64, device="cpu")))
    assert torch.allclose(learner.tta(n=1)[0], learner.get_preds()[0], atol=1e-6)


def torch_learner(**loading):
    x, y = batches(1, 40, seed=3)[0]
    data = TensorDataset(x, y)
    train = TorchLoader(data, 8, generator=torch.Generator().manual_seed(0), **loading)
    return make_learner(dls=DataLoaders(train, TorchLoader(data, 8), device="cpu")), y


def test_a_shuffling_torch_loader_is_read_in_order():
    learner, y = torch_learner(shuffle=True, drop_last=True)
    (predictions, targets), (expected, _) = learner.get_preds(0), learner.get_preds(1)
    assert torch.equal(targets, y) and torch.allclose(predictions, expected, atol=1e-6)
    averaged, targets = learner.tta(dl=learner.dls.train.loader, n=2)
    assert torch.equal(targets, y) and torch.allclose(averaged, expected, atol=1e-6)


def test_tta_refuses_a_loader_that_draws_its_samples():
    learner, _ = torch_learner(sampler=WeightedRandomSampler([1.0] * 40, 40))
    with pytest.raises(ConfigError, match="this DataLoader gives other samples, or another order.*shuffle=False"):
        learner.tta(0)
    predictions, targets = learner.get_preds(0)  # once: targets and predictions belong together
    assert len(predictions) == len(targets) == 40


def test_predictions_for_inputs_of_a_wrong_shape(learner):
    with pytest.raises(DataError, match=r"does not take the inputs Tensor \[3, 9\] float32.*one_batch\(\)"):
        learner.get_preds(dl=[(torch.zeros(3, 9), torch.zeros(3))])


def test_a_loader_without_labels_has_no_loss(learner):
    x, _ = batches(1, seed=2)[0]
    unlabelled = TorchLoader(TensorDataset(x), 4)
    with pytest.raises(DataError, match="no labels, so there is no loss"):
        learner.get_preds(dl=unlabelled, with_loss=True)
    with pytest.raises(DataError, match="no labels, so there is no loss"):
        learner.validate(dl=unlabelled)
    assert learner.get_preds(dl=unlabelled)[1] is None
