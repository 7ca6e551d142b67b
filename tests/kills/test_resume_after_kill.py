"""A training that was killed and goes on ends with the bits of the one that never was."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from killing import Counts, Victims, assert_same, damaged_in, folder_of, litter_in, result_of
from victim import SAVES, Job

WHATS = ["plain", "augmentation", "dropout", "MixUp", "GradientAccumulation", "bf16", "EMA"]
FIT, TUNE, KEPT = "fit_one_cycle", "fine_tune", "fine_tune on kept features"
PLACES = {  # part, epoch, batch, phase
    "first batch": (FIT, [0, 0, 0, "train"]),
    "middle": (FIT, [0, 1, 3, "train"]),
    "last batch": (FIT, [0, 2, -1, "train"]),
    "validation": (FIT, [0, 1, 1, "valid"]),
    "frozen phase": (TUNE, [0, 1, 2, "train"]),
    "unfrozen phase": (TUNE, [1, 1, 3, "train"]),
}
FACTORS = (WHATS, [0, 2], [False, "memory", "disk"], list(PLACES), list(SAVES))
SEVERAL = {  # the places of the kills of one training, in their order
    2: [[0, 0, 4, "train"], [0, 2, 0, "valid"]],
    5: [[0, 0, 0, "train"], [0, 0, 5, "train"], [0, 0, 1, "valid"], [0, 1, 3, "train"], [0, 2, -1, "train"]],
}


def pairwise(factors: tuple[list[Any], ...]) -> list[tuple[Any, ...]]:
    """Few combinations in which any two values of two factors meet at least once."""
    columns = list(itertools.combinations(range(len(factors)), 2))
    rows = list(itertools.product(*factors))
    open_pairs = {(i, j, row[i], row[j]) for row in rows for i, j in columns}
    chosen = []
    while open_pairs:
        best = max(rows, key=lambda row: sum((i, j, row[i], row[j]) in open_pairs for i, j in columns))
        open_pairs -= {(i, j, best[i], best[j]) for i, j in columns}
        chosen.append(best)
    return chosen


PAIRWISE = pairwise(FACTORS)
REST = [row for row in itertools.product(*FACTORS) if row not in PAIRWISE]


@pytest.fixture(scope="module")
def counts() -> Iterator[Counts]:
    counts = Counts(more={"not the same": 0})
    yield counts


@pytest.fixture
def kill_and_resume(
    victims: Victims, job_in: Callable[..., Job], uninterrupted: Callable[..., dict[str, Any]], counts: Counts
) -> Callable[..., None]:
    """Kill a training at places, one after the other, let it end, and compare."""

    def kill_and_resume(places: list[list[Any]], **options: Any) -> None:
        expected = uninterrupted(options.get("what", "plain"), options.get("call", FIT))
        for place in places:
            job = job_in("killed", place=place, **options)
            ended = victims.run(job)
            assert ended.code == -9, ended.told
            counts.kills += 1
            counts.damaged += damaged_in(folder_of(job))
        job = job_in("killed", **options | {"saves": "epoch"})
        ended = victims.run(job)
        assert ended.code == 0, ended.told
        counts.litter += len(litter_in(folder_of(job)))
        counts.more["not the same"] += 1  # until it is known to be
        assert_same(result_of(job) | {"heard": []}, expected)
        counts.more["not the same"] -= 1

    return kill_and_resume


@pytest.mark.parametrize(("what", "workers", "cache", "place", "saves"), PAIRWISE)
def test_resumed_equals_uninterrupted(
    kill_and_resume: Callable[..., None], what: str, workers: int, cache: Any, place: str, saves: str
) -> None:
    call, at = PLACES[place]
    kill_and_resume([at], call=call, what=what, workers=workers, cache=cache, saves=saves)


@pytest.mark.parametrize("n_kills", SEVERAL)
@pytest.mark.parametrize(("what", "saves"), [("augmentation", "step"), ("EMA", "epoch")])
def test_several_kills_of_one_training(
    kill_and_resume: Callable[..., None], n_kills: int, what: str, saves: str
) -> None:
    kill_and_resume(SEVERAL[n_kills], what=what, saves=saves, workers=2, cache="disk")


@pytest.mark.parametrize("place", [[0, 1, 40, "train"], [1, 0, 2, "train"]])
def test_a_head_on_kept_features(kill_and_resume: Callable[..., None], place: list[Any]) -> None:
    kill_and_resume([place], call=KEPT, what="plain")


@pytest.mark.soak
@pytest.mark.parametrize(("what", "workers", "cache", "place", "saves"), REST)
def test_the_other_combinations(
    kill_and_resume: Callable[..., None], what: str, workers: int, cache: Any, place: str, saves: str
) -> None:
    call, at = PLACES[place]
    kill_and_resume([at], call=call, what=what, workers=workers, cache=cache, saves=saves)


def test_counts(counts: Counts) -> None:
    counts.check()
    assert not counts.more["not the same"]
