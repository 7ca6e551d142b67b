from __future__ import annotations

import math
import subprocess
import sys
from functools import partial

import numpy as np
import pytest
import sklearn.metrics as skm
import torch
import torch.nn.functional as F
from scipy.stats import pearsonr, spearmanr

from fastlearn import metrics as m
from fastlearn.errors import ConfigError, DataError
from fastlearn.task import Classification, MultiLabel, Regression

RNG = torch.Generator().manual_seed(0)
LOGITS = torch.randn(53, 4, generator=RNG)
CLASSES = torch.randint(0, 4, (53,), generator=RNG)
TWO, TWO_CLASSES = torch.randn(53, 2, generator=RNG), torch.randint(0, 2, (53,), generator=RNG)
LABELS = torch.randint(0, 2, (53, 4), generator=RNG).float()
NUMBERS = torch.rand(53, 1, generator=RNG) * 3
TRUE = NUMBERS[:, 0] + 0.3 * torch.rand(53, generator=RNG)


def over_batches(metric, outputs, targets, bs=16):
    metric = m.as_metric(metric)
    assert math.isnan(metric.value)
    metric.update(outputs[:5], targets[:5])
    metric.reset()
    for start in range(0, len(outputs), bs):
        metric.update(outputs[start : start + bs], targets[start : start + bs])
    return metric.value


def np_(*tensors):
    return [tensor.numpy() for tensor in tensors]


FOUND, SURE = LOGITS.argmax(1).numpy(), LOGITS.double().softmax(1).numpy()
FOUND_TWO, SURE_TWO = TWO.argmax(1).numpy(), TWO.double().softmax(1)[:, 1].numpy()
Y, Y2, YM = CLASSES.numpy(), TWO_CLASSES.numpy(), LABELS.numpy()
TAGGED, SURE_TAGS = (LOGITS.sigmoid() > 0.4).numpy(), LOGITS.double().sigmoid().numpy()

ONE_CLASS = {
    "accuracy": (m.accuracy, skm.accuracy_score(Y, FOUND)),
    "error_rate": (m.error_rate, 1 - skm.accuracy_score(Y, FOUND)),
    "top_k": (partial(m.top_k_accuracy, k=2), skm.top_k_accuracy_score(Y, SURE, k=2)),
    "perplexity": (m.Perplexity(), math.exp(skm.log_loss(Y, SURE))),
    "f1": (m.F1Score(average="macro"), skm.f1_score(Y, FOUND, average="macro")),
    "f1 weighted": (m.F1Score(average="weighted"), skm.f1_score(Y, FOUND, average="weighted")),
    "fbeta": (m.FBeta(2, average="macro"), skm.fbeta_score(Y, FOUND, beta=2, average="macro")),
    "precision": (m.Precision(average="micro"), skm.precision_score(Y, FOUND, average="micro")),
    "recall": (m.Recall(average="macro"), skm.recall_score(Y, FOUND, average="macro")),
    "jaccard": (m.Jaccard(average="macro"), skm.jaccard_score(Y, FOUND, average="macro")),
    "balanced": (m.BalancedAccuracy(), skm.balanced_accuracy_score(Y, FOUND)),
    "balanced adjusted": (m.BalancedAccuracy(adjusted=True), skm.balanced_accuracy_score(Y, FOUND, adjusted=True)),
    "matthews": (m.MatthewsCorrCoef(), skm.matthews_corrcoef(Y, FOUND)),
    "kappa": (m.CohenKappa(), skm.cohen_kappa_score(Y, FOUND)),
    "kappa weighted": (m.CohenKappa(weights="quadratic"), skm.cohen_kappa_score(Y, FOUND, weights="quadratic")),
    "hamming": (m.HammingLoss(), skm.hamming_loss(Y, FOUND)),
    "roc": (m.RocAuc(), skm.roc_auc_score(Y, SURE, multi_class="ovr")),
    "roc weighted": (m.RocAuc(average="weighted"), skm.roc_auc_score(Y, SURE, multi_class="ovr", average="weighted")),
}
TWO_CLASS = {
    "f1": (m.F1Score(), skm.f1_score(Y2, FOUND_TWO)),
    "f1 class": (m.F1Score, skm.f1_score(Y2, FOUND_TWO)),
    "f1 of 0": (m.F1Score(pos_label=0), skm.f1_score(Y2, FOUND_TWO, pos_label=0)),
    "precision": (m.Precision(), skm.precision_score(Y2, FOUND_TWO)),
    "recall": (m.Recall(), skm.recall_score(Y2, FOUND_TWO)),
    "jaccard": (m.Jaccard(), skm.jaccard_score(Y2, FOUND_TWO)),
    "roc": (m.RocAucBinary(), skm.roc_auc_score(Y2, SURE_TWO)),
    "ap": (m.APScoreBinary(), skm.average_precision_score(Y2, SURE_TWO)),
    "brier": (m.BrierScore(), skm.brier_score_loss(Y2, SURE_TWO)),
}
MULTI = {
    "accuracy": (partial(m.accuracy_multi, thresh=0.4), (YM == TAGGED).mean()),
    "f1": (m.F1ScoreMulti(0.4), skm.f1_score(YM, TAGGED, average="macro")),
    "f1 micro": (m.F1ScoreMulti(0.4, average="micro"), skm.f1_score(YM, TAGGED, average="micro")),
    "fbeta": (m.FBetaMulti(0.5, 0.4), skm.fbeta_score(YM, TAGGED, beta=0.5, average="macro")),
    "precision": (m.PrecisionMulti(0.4), skm.precision_score(YM, TAGGED, average="macro")),
    "recall": (m.RecallMulti(0.4, average="weighted"), skm.recall_score(YM, TAGGED, average="weighted")),
    "jaccard": (m.JaccardMulti(0.4), skm.jaccard_score(YM, TAGGED, average="macro")),
    "hamming": (m.HammingLossMulti(0.4), skm.hamming_loss(YM, TAGGED)),
    "roc": (m.RocAucMulti(), skm.roc_auc_score(YM, SURE_TAGS)),
    "ap": (m.APScoreMulti(), skm.average_precision_score(YM, SURE_TAGS)),
}
P, T = np_(NUMBERS[:, 0].double(), TRUE.double())
REGRESSION = {
    "mse": (m.mse, skm.mean_squared_error(T, P)),
    "rmse": (m.rmse, skm.root_mean_squared_error(T, P)),
    "mae": (m.mae, skm.mean_absolute_error(T, P)),
    "msle": (m.msle, skm.mean_squared_log_error(T, P)),
    "exp_rmspe": (m.exp_rmspe, np.sqrt(np.mean(((np.exp(T) - np.exp(P)) / np.exp(T)) ** 2))),
    "r2": (m.R2Score(), skm.r2_score(T, P)),
    "explained": (m.ExplainedVariance(), skm.explained_variance_score(T, P)),
    "pearson": (m.PearsonCorrCoef(), pearsonr(P, T).statistic),
    "spearman": (m.SpearmanCorrCoef(), spearmanr(P, T).statistic),
}


def check(metric, expected, outputs, targets):
    assert over_batches(metric, outputs, targets) == pytest.approx(float(expected), abs=2e-6)


@pytest.mark.parametrize("name", ONE_CLASS)
def test_one_class_a_sample(name):
    check(*ONE_CLASS[name], LOGITS, CLASSES)


@pytest.mark.parametrize("name", TWO_CLASS)
def test_two_classes(name):
    check(*TWO_CLASS[name], TWO, TWO_CLASSES)


@pytest.mark.parametrize("name", MULTI)
def test_several_labels(name):
    check(*MULTI[name], LOGITS, LABELS)


@pytest.mark.parametrize("name", REGRESSION)
def test_numbers(name):
    check(*REGRESSION[name], NUMBERS, TRUE)


def test_classes_that_do_not_occur():
    targets = torch.randint(0, 3, (53,), generator=torch.Generator().manual_seed(1))  # class 3 is only predicted
    for metric, theirs in (
        (m.BalancedAccuracy(), None),
        (m.F1Score(average="macro"), skm.f1_score(targets, FOUND, average="macro", zero_division=0)),
        (m.Recall(average="weighted"), skm.recall_score(targets, FOUND, average="weighted", zero_division=0)),
    ):
        if theirs is None:
            with pytest.warns(UserWarning, match="y_pred contains classes not in y_true"):
                theirs = skm.balanced_accuracy_score(targets, FOUND)
        assert over_batches(metric, LOGITS, targets) == pytest.approx(theirs, abs=1e-6)


def test_numbers_far_from_zero_keep_their_digits():
    years, guess = TRUE + 20_000, NUMBERS + 20_000
    assert over_batches(m.R2Score(), guess, years) == pytest.approx(
        skm.r2_score(years.double().numpy(), guess.double().numpy()), abs=1e-6
    )


def test_plain_functions_give_one_batch():
    assert float(m.accuracy(LOGITS, CLASSES)) == pytest.approx(skm.accuracy_score(Y, FOUND))
    assert float(m.rmse(NUMBERS, TRUE)) == pytest.approx(skm.root_mean_squared_error(T, P), abs=1e-6)
    pixels = torch.randn(2, 3, 4, 4)
    mask = torch.randint(0, 3, (2, 4, 4))
    assert float(m.accuracy(pixels, mask, axis=1)) == pytest.approx(float((pixels.argmax(1) == mask).float().mean()))
    assert float(m.top_k_accuracy(pixels, mask, k=3, axis=1)) == 1


def test_dice_is_f1_of_the_foreground():
    pixels = torch.randn(5, 3, 8, 8)
    mask = torch.randint(0, 3, (5, 8, 8))
    expected = skm.f1_score(mask.flatten() > 0, pixels.argmax(1).flatten() > 0)
    assert over_batches(m.Dice(), pixels, mask, bs=2) == pytest.approx(expected)


def test_perplexity_ignores_padding():
    logits, targets = torch.randn(4, 5, 7), torch.randint(0, 7, (4, 5))
    targets[1, 2:] = -100
    expected = float(F.cross_entropy(logits.view(-1, 7), targets.view(-1)).exp())
    assert over_batches(m.Perplexity(), logits, targets, bs=3) == pytest.approx(expected, rel=1e-5)


def test_names():
    import torchmetrics

    named = {
        "accuracy": m.accuracy,
        "accuracy_multi": partial(m.accuracy_multi, thresh=0.2),
        "f1_score": m.F1Score,
        "f1_score_multi": m.F1ScoreMulti(),
        "ap_score_binary": m.APScoreBinary(),
        "roc_auc": m.RocAuc(),
        "r2_score": m.R2Score(),
        "perplexity": m.Perplexity,
        "multiclass_accuracy": torchmetrics.classification.MulticlassAccuracy(4),
        "metric": lambda outputs, targets: 1.0,
        "largest": m.AccumMetric(lambda p, t: p.max(), name="largest"),
    }
    assert [m.as_metric(metric).name for metric in named.values()] == list(named)


def test_other_functions_are_weighted_by_batch_size():
    def mean_output(outputs, targets):
        return outputs.mean()

    assert over_batches(mean_output, LOGITS, CLASSES) == pytest.approx(float(LOGITS.mean()), abs=1e-6)
    assert over_batches(lambda outputs, targets: float(outputs.mean()), LOGITS, CLASSES) == pytest.approx(
        float(LOGITS.mean()), abs=1e-6
    )
    with pytest.raises(DataError, match=r"gave a tensor of shape \(53,\)"):
        m.as_metric(lambda outputs, targets: outputs[:, 0]).update(LOGITS, CLASSES)


def test_accum_metric_sees_everything_at_once():
    metric = m.AccumMetric(skm.f1_score, dim_argmax=-1, to_np=True, invert_arg=True)
    assert metric.name == "f1_score"
    expected = skm.f1_score(Y2, FOUND_TWO)
    assert over_batches(metric, TWO, TWO_CLASSES) == pytest.approx(expected)
    assert metric(TWO[:9], TWO_CLASSES[:9]) == pytest.approx(skm.f1_score(Y2[:9], FOUND_TWO[:9]))
    assert metric.value == pytest.approx(expected)  # the call left it alone
    curve = m.AccumMetric(skm.roc_auc_score, activation="binarysoftmax", to_np=True, invert_arg=True)
    assert over_batches(curve, TWO, TWO_CLASSES) == pytest.approx(skm.roc_auc_score(Y2, SURE_TWO))
    tags = m.AccumMetric(lambda p, t: (p == t).float().mean(), activation="sigmoid", thresh=0.4)
    assert over_batches(tags, LOGITS, LABELS) == pytest.approx((YM == TAGGED).mean())


def test_torchmetrics_objects_pass_through():
    import torchmetrics

    metric = torchmetrics.classification.MulticlassAccuracy(4, average="micro")
    assert over_batches(metric, LOGITS, CLASSES) == pytest.approx(skm.accuracy_score(Y, FOUND))
    with pytest.raises(DataError, match="expected one number"):
        over_batches(torchmetrics.classification.MulticlassAccuracy(4, average="none"), LOGITS, CLASSES)


def test_sums_of_two_processes_give_the_metric_of_all():
    parts = [m.as_metric(m.rmse) for _ in range(2)]
    parts[0].update(NUMBERS[:10], TRUE[:10])
    parts[1].update(NUMBERS[10:], TRUE[10:])
    total, count = (a + b for a, b in zip(parts[0].sums, parts[1].sums, strict=True))
    whole = m.as_metric(m.rmse)
    whole.load_state_dict({"total": total, "count": count})
    assert whole.value == pytest.approx(skm.root_mean_squared_error(T, P), abs=1e-6)
    assert m.as_metric(m.rmse).sums[1] == 0
    assert m.RocAuc().sums is None


def test_half_precision_outputs_count_exactly():
    outputs = torch.zeros(5000, 2, dtype=torch.bfloat16)
    outputs[:4999, 1] = 1
    assert over_batches(m.accuracy, outputs, torch.ones(5000, dtype=torch.long), bs=5000) == 4999 / 5000


PETS, PAIR, TAGS = Classification(list("abcd")), Classification(["no", "yes"]), MultiLabel(list("abcd"))


@pytest.mark.parametrize(
    ("metric", "task", "message"),
    [
        (
            m.accuracy,
            TAGS,
            "accuracy is for one class a sample, but the data have several labels a sample. Use accuracy_multi",
        ),
        (m.F1Score(), TAGS, r"Use F1ScoreMulti\(\)"),
        (m.accuracy_multi, PETS, "Use accuracy, error_rate"),
        (m.accuracy, Regression(), "but the data have numbers. Use mse, rmse, mae"),
        (m.mse, PETS, "mse is for numbers"),
        (m.F1Score(), PETS, r"data have 4; type F1Score\(average='macro'\)"),
        (m.RocAucBinary(), PETS, "for 2 classes and the data have 4"),
        (m.top_k_accuracy, PETS, "k=5 and the data have 4 classes"),
    ],
)
def test_metrics_that_do_not_fit_name_one_that_does(metric, task, message):
    with pytest.raises(ConfigError, match=message):
        m.check_metric(m.as_metric(metric), task)


def test_metrics_that_fit():
    for metric, task in (
        (m.accuracy, PETS),
        (m.F1Score(), PAIR),
        (m.F1Score(average="macro"), PETS),
        (partial(m.top_k_accuracy, k=4), PETS),
        (m.R2Score(), Regression()),
        (lambda outputs, targets: 0.0, TAGS),
        (m.accuracy, None),
        (m.F1ScoreMulti(), TAGS),
    ):
        m.check_metric(m.as_metric(metric), task)


def test_arguments_that_cannot_work():
    with pytest.raises(ConfigError, match="takes average= 'binary', 'macro', 'micro', 'weighted'; found 'samples'"):
        m.F1Score(average="samples")
    with pytest.raises(ConfigError, match=r"FBeta needs arguments; give an instance, FBeta\(...\)"):
        m.as_metric(m.FBeta)
    with pytest.raises(ConfigError, match="found 'accuracy'"):
        m.as_metric("accuracy")
    with pytest.raises(DataError, match="needs 5 classes, found 4"):
        m.top_k_accuracy(LOGITS, CLASSES)
    with pytest.raises(DataError, match="one target for each of 53 predictions.*accuracy_multi"):
        m.accuracy(LOGITS, LABELS)
    with pytest.raises(DataError, match="ends in Multi"):
        m.F1Score(average="macro").update(LOGITS, LABELS)
    with pytest.raises(DataError, match="0 or 1 for every output"):
        m.F1ScoreMulti().update(LOGITS, CLASSES)
    metric = m.F1Score()
    metric.update(LOGITS, CLASSES)
    with pytest.raises(ConfigError, match="for 2 classes, found 4"):
        metric.compute()


def test_importing_metrics_does_not_import_torchmetrics():
    code = (
        "import sys, fastlearn.metrics as m; m.as_metric(m.accuracy); m.F1Score(); "
        "sys.exit('torchmetrics' in sys.modules or 'sklearn' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_labels_averaged_over_samples_are_those_of_scikit_learn():
    torch.manual_seed(3)
    outputs, targets = torch.randn(40, 4), (torch.rand(40, 4) < 0.4).long()
    outputs[0], targets[0], targets[1] = -9.0, 0, 0
    said, there = (outputs.sigmoid() > 0.5).numpy(), targets.numpy()
    options = {"average": "samples", "zero_division": 0}
    for metric, expected in [
        (m.F1ScoreMulti(average="samples"), skm.f1_score(there, said, **options)),
        (m.FBetaMulti(beta=0.5, average="samples"), skm.fbeta_score(there, said, beta=0.5, **options)),
        (m.FBetaMulti(beta=2, average="samples"), skm.fbeta_score(there, said, beta=2, **options)),
        (m.PrecisionMulti(average="samples"), skm.precision_score(there, said, **options)),
        (m.RecallMulti(average="samples"), skm.recall_score(there, said, **options)),
        (m.JaccardMulti(average="samples"), skm.jaccard_score(there, said, **options)),
    ]:
        for _ in range(2):
            metric.reset()
            for part in (slice(0, 7), slice(7, 40)):
                metric.update(outputs[part], targets[part].float())
            assert metric.compute() == pytest.approx(expected, abs=1e-6)
    with pytest.raises(ConfigError, match="takes average= 'macro', 'micro', 'weighted'; found 'samples'"):
        m.RocAucMulti(average="samples")
