from __future__ import annotations

import pytest

from fastlearn.errors import ConfigError
from fastlearn.training.hypers import lr_groups
from fastlearn.training.schedule import (
    SchedCos,
    SchedExp,
    SchedLin,
    SchedNo,
    SchedPoly,
    combine_scheds,
    combined_cos,
    constant,
    fine_tune_phases,
    flat_cos,
    one_cycle,
    sgdr,
    sgdr_epochs,
)

QUARTERS = [0, 0.25, 0.5, 0.75, 1]


def test_curves():
    assert [SchedCos(0, 2)(pos) for pos in QUARTERS] == pytest.approx([0, 0.29289, 1, 1.70711, 2], abs=1e-5)
    assert [SchedLin(0, 2)(pos) for pos in QUARTERS] == pytest.approx([0, 0.5, 1, 1.5, 2])
    assert [SchedPoly(0, 2, 2)(pos) for pos in QUARTERS] == pytest.approx([0, 0.125, 0.5, 1.125, 2])
    assert SchedExp(1, 2)(0.25) == pytest.approx(1.18921, abs=1e-5)
    assert SchedNo(3, 4)(0.9) == 3
    assert SchedExp([1, 4], [2, 1])(0.5) == pytest.approx([2**0.5, 2])
    assert SchedLin([0, 1], [2, 3])(0.5) == [1, 2]
    assert SchedLin([1, 1], [3, 3])(0.5) == [2, 2]
    with pytest.raises(ConfigError, match="2 starts and 1 ends"):
        SchedLin([0, 1], [2])


def test_combined_curves():
    curve = combined_cos(0.25, 0.5, 1, 0)
    assert curve(0.1) == pytest.approx(0.67275, abs=1e-5)
    assert curve(0.5) == pytest.approx(0.75)
    assert [curve(0), curve(0.25), curve(1)] == pytest.approx([0.5, 1, 0])
    three = combine_scheds([0.25, 0.25, 0.5], [SchedLin(0, 1), SchedNo(1, 1), SchedLin(1, 0)])
    assert [three(pos) for pos in QUARTERS] == pytest.approx([0, 1, 1, 0.5, 0])
    assert combine_scheds([0.0, 1.0], [SchedNo(9, 9), SchedLin(0, 1)])(0) == 0
    for pcts in ([0.5, 0.4], [1.0], [-0.5, 1.5]):
        with pytest.raises(ConfigError, match="summing to 1"):
            combine_scheds(pcts, [SchedLin(0, 1), SchedLin(1, 0)])


def test_one_cycle_is_golden():
    schedule = one_cycle(1e-2)
    steps = [schedule.hypers(i / 20) for i in range(20)]
    rates = [step["lr"][0] for step in steps]
    assert rates[:6] == pytest.approx([4e-4, 0.001316718, 0.003716719, 0.006683282, 0.009083282, 0.01], abs=1e-9)
    assert rates[-1] == pytest.approx(0.000109361, abs=1e-9)
    assert steps[1]["mom"] == pytest.approx([0.940451], abs=1e-6)
    assert steps[-1]["mom"] == pytest.approx([0.948907], abs=1e-6)
    assert "mom" not in one_cycle(1e-2, moms=None).hypers(0.3)
    assert one_cycle([1e-3, 1e-2], pct_start=1.0).hypers(0.999999)["lr"] == pytest.approx([1e-3, 1e-2], rel=1e-4)
    with pytest.raises(ConfigError, match="between 0 and 1, found 1.5"):
        one_cycle(0.1, pct_start=1.5)


def test_fine_tune_is_golden():
    head, body = fine_tune_phases(2)
    assert (head.epochs, head.frozen, body.epochs, body.frozen) == (1, True, 2, False)
    first = one_cycle(lr_groups(head.lr, 2), div=head.div, pct_start=head.pct_start)
    assert first.hypers(0)["lr"] == pytest.approx([8e-6, 8e-5])
    second = one_cycle(lr_groups(body.lr, 2), div=body.div, pct_start=body.pct_start)
    steps = [second.hypers(i / 20)["lr"] for i in range(20)]
    assert steps[0] == pytest.approx([2e-6, 2e-4])
    assert steps[6] == pytest.approx([1e-5, 1e-3]) == max(steps)
    assert steps[-1] == pytest.approx([1.25459e-7, 1.25459e-5], rel=1e-5)


def test_flat_constant_and_restarts():
    flat = flat_cos([1e-3, 1e-2])
    assert flat.hypers(0)["lr"] == flat.hypers(0.7)["lr"] == [1e-3, 1e-2]
    assert flat.hypers(0.875)["lr"] == pytest.approx([(1e-3 + 1e-8) / 2, (1e-2 + 1e-7) / 2])
    assert constant(0.1).hypers(0.9) == {"lr": [0.1]}
    assert sgdr_epochs(3, 2) == [2, 4, 8]
    assert sgdr_epochs(3, 2, cycle_mult=1) == [2, 2, 2]
    schedule = sgdr(0.1, 3, 2)
    for start, length in ((0, 2), (2, 4), (6, 8)):
        assert schedule.hypers(start / 14)["lr"] == pytest.approx([0.1])
        assert schedule.hypers((start + length / 2) / 14)["lr"] == pytest.approx([0.05])
    with pytest.raises(ConfigError, match="found 0, 1, 2"):
        sgdr_epochs(0, 1)


@pytest.mark.parametrize("ends", [(0, 1), (1, 0), (1, -1), ([1.0, 0.0], [1.0, 1.0])])
def test_an_exponential_has_no_zero_and_one_sign(ends):
    with pytest.raises(ConfigError, match="same sign, neither of them 0"):
        SchedExp(*ends)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: SchedCos("1e-3", 0), "goes through numbers, or lists of them .*, not '1e-3'"),
        (lambda: SchedNo(None, 0), "goes through numbers, .*, not None"),
        (lambda: SchedLin([1, "x"], [0, 0]), r"goes through numbers, .*, not \[1, 'x'\]"),
        (lambda: SchedPoly(0, 1, "2"), "power is a number such as 2, not '2'"),
        (lambda: combine_scheds(0.5, [SchedLin(0, 1)]), "pcts is a list of shares, one a curve, not 0.5"),
        (lambda: combine_scheds([1], [3]), "A curve in scheds is a function, not 3"),
        (lambda: combine_scheds([float("nan")], [SchedLin(0, 1)]), "summing to 1"),
        (lambda: combined_cos(1.5, 0, 1, 0), "pct is a share of the fit between 0 and 1, found 1.5"),
        (lambda: one_cycle(1e-3, pct_start="x"), "pct_start is a number such as 0.25, not 'x'"),
        (lambda: sgdr_epochs("2", 1), "in whole numbers, found '2', 1, 2"),
    ],
)
def test_what_no_curve_can_be_made_of(make, message):
    with pytest.raises(ConfigError, match=message):
        make()
