from __future__ import annotations

import numpy as np
import pytest

from fastlearn.errors import ConfigError, TrainingError
from fastlearn.training.lr_suggest import minimum, prepare, slide, smooth_losses, steep, suggest, valley


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def curve(num_it=100):
    lrs = 1e-7 * 1e8 ** (np.arange(num_it) / num_it)
    x = np.log10(lrs)
    return lrs, 2 - 1.5 * sigmoid(2 * (x + 2.5)) + 3 * sigmoid(6 * (x - 0.3))


def test_suggestions_are_golden():
    lrs, losses = curve()
    found = suggest(lrs, losses, 100, ("valley", slide, minimum, "steep"))
    assert list(found) == ["valley", "slide", "minimum", "steep"]
    rates = [suggestion.lr for suggestion in found.values()]
    assert rates == pytest.approx([2.754228703e-4, 1e-3, 2.5118864e-2, 3.01995172e-3], rel=1e-7)
    for suggestion in found.values():
        assert suggestion.loss == pytest.approx(
            float(np.interp(np.log10(suggestion.lr), np.log10(lrs), losses)), abs=0.02
        )


def test_valley_finds_the_longest_decrease():
    losses = [5, 9, 8, 7, 6.5, 6, 5.5, 5, 4.5, 4, 7, 8.0]
    lrs = list(10.0 ** np.arange(len(losses)))
    # nine falling steps end at place 9: 9 - 9 + 3 + 1
    assert valley(lrs, losses, 12) == (1e4, 6.5)
    assert valley(lrs[:3], [1, 2, 3], 3).lr == 1.0  # never falls: the first


@pytest.mark.parametrize("num_it", [8, 13, 20, 50, 333])
@pytest.mark.parametrize("func", [valley, slide, minimum, steep])
def test_any_length_gives_a_rate_within_the_run(num_it, func):
    lrs, losses = curve(num_it)
    found = suggest(lrs, losses, num_it, func)[func.__name__]
    assert lrs[0] / 11 <= found.lr <= lrs[-1]


def test_short_and_diverged_runs_are_explained():
    lrs, losses = curve()
    with pytest.raises(TrainingError, match="of 6 steps, 1 are usable.*larger num_it"):
        suggest(lrs[:6], losses[:6], 6)
    with pytest.raises(TrainingError, match="at least 3"):
        suggest([], [], 100)
    losses[12:] = np.nan
    with pytest.raises(TrainingError, match="NaN or infinite from learning rate 9.12e-07"):
        suggest(lrs, losses, 100)
    with pytest.raises(TrainingError, match="one loss each, found 3 and 2"):
        steep([1, 2, 3], [1, 2], 3)
    with pytest.raises(ConfigError, match="Did you mean 'valley'"):
        suggest(lrs, curve()[1], 100, "vally")


def test_the_curve_is_cut_at_the_first_nan():
    lrs, losses = curve()
    losses[60] = np.nan
    rates, values = prepare(lrs, losses, 100)
    assert len(rates) == len(values) == 50
    assert rates[0] == lrs[10]


def test_smoothing_is_the_debiased_mean():
    losses = [3.0, 1.0, 2.0]
    expected = [3.0, (0.98 * 3 + 1) / 1.98, (0.98**2 * 3 + 0.98 + 2) / (1 + 0.98 + 0.98**2)]
    assert smooth_losses(losses) == pytest.approx(expected)
    assert len(smooth_losses([])) == 0
