"""All the transforms together: merged, at half precision, and what they refuse."""

import pytest
import torch
from byte_batches import KINDS, bytes_batch, plain, run

from fastlearn.data import transform
from fastlearn.data.transform import BatchPipeline, RowTransform
from fastlearn.errors import ConfigError, DataError
from fastlearn.runtime.seed import torch_rng
from fastlearn.vision.affine import MergedGeometry
from fastlearn.vision.augment import (
    Brightness,
    Dihedral,
    Flip,
    Hue,
    IntToFloatTensor,
    Normalize,
    RandomErasing,
    Rotate,
    Saturation,
    Warp,
    Zoom,
    aug_transforms,
    cifar_stats,
    imagenet_stats,
)
from fastlearn.vision.light import MergedLight


def test_validation_changes_nothing():
    tfms = [*aug_transforms(), Saturation(), Hue(), RandomErasing(p=1), Dihedral(p=1)]
    assert torch.equal(run(tfms, train=False), plain())


def test_the_users_tensors_are_never_written_to():
    floats = torch.rand(4, 3, 8, 8)
    before = floats.clone()
    tfms = [*aug_transforms(), Hue(), RandomErasing(p=1.0), Normalize.from_stats(*imagenet_stats)]
    run(tfms, (floats, torch.arange(4)))
    assert torch.equal(floats, before)


def test_neighbours_are_merged():
    pipeline = BatchPipeline([IntToFloatTensor(), *aug_transforms(size=8, min_scale=0.5), Saturation(), Hue()], KINDS)
    kinds = [type(tfm) for tfm in pipeline.tfms]
    assert kinds == [MergedLight, IntToFloatTensor, MergedGeometry, Hue]
    assert len(pipeline.tfms[0].parts) == 3 and len(pipeline.tfms[2].parts) == 5
    separate = BatchPipeline([Flip(), Rotate(mode="nearest")], KINDS)
    assert len(separate.tfms) == 2


def test_each_sample_has_its_own_draw_and_the_generator_decides():
    same = (bytes_batch(1)[0].expand(6, -1, -1, -1).contiguous(), torch.arange(6))
    images = run(aug_transforms(p_affine=1.0, p_lighting=1.0), same)
    assert all(not torch.equal(images[0], images[i]) for i in range(1, 6))
    assert torch.equal(images, run(aug_transforms(p_affine=1.0, p_lighting=1.0), same))
    assert not torch.equal(images, run(aug_transforms(p_affine=1.0, p_lighting=1.0), same, seed=1))
    together = run(aug_transforms(p_affine=1.0, p_lighting=1.0, batch=True), same)
    torch.testing.assert_close(together, together[:1].expand_as(together))


@pytest.mark.parametrize("train", [True, False])
def test_sizes_of_the_result(train):
    for tfms in (aug_transforms(size=8), aug_transforms(size=(8, 12), min_scale=0.5), [Rotate(size=(5, 7))]):
        size = (8, 8) if tfms[0].size == (8, 8) else tfms[0].size
        assert run(tfms, train=train).shape == (4, 3, *size)
    nothing_else = aug_transforms(do_flip=False, max_rotate=0, max_warp=0, max_zoom=1, max_lighting=0, size=8)
    assert run(nothing_else, train=train).shape == (4, 3, 8, 8)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Flip(p=1.5), "p is a probability"),
        (lambda: Rotate(pad_mode="reflect"), "Did you mean 'reflection'"),
        (lambda: Rotate(mode="linear"), "choose 'bilinear'"),
        (lambda: Zoom(2.0, 1.0), "min_zoom=2.0"),
        (lambda: Warp(1.5), "magnitude=1.5"),
        (lambda: Brightness(1.0), "max_lighting=1.0"),
        (lambda: RandomErasing(sl=0.5, sh=0.1), "sl <= sh"),
        (lambda: Normalize([0.5], [0.0]), "all above 0"),
        (lambda: aug_transforms(min_scale=0.5), "needs a size"),
        (lambda: run(Normalize.from_stats(*cifar_stats), (torch.rand(1, 2, 4, 4), torch.arange(1))), "have 2"),
    ],
)
def test_what_cannot_work_is_refused(make, message):
    with pytest.raises(ConfigError, match=message):
        make()


def test_half_precision_stays_half():
    images = torch.rand(2, 3, 8, 8).bfloat16()
    done = run(aug_transforms(p_affine=1.0, p_lighting=1.0), (images, torch.arange(2)))
    assert done.dtype == torch.bfloat16 and bool(torch.isfinite(done).all())


@pytest.mark.parametrize(
    "call",
    [
        lambda: aug_transforms(max_rotate="x"),
        lambda: aug_transforms(mult=None),
        lambda: aug_transforms(max_zoom=(1, 2)),
        lambda: aug_transforms(p_affine="often"),
        lambda: aug_transforms(max_lighting=[0.2]),
        lambda: Rotate("x"),
        lambda: Zoom("x"),
        lambda: Warp("x"),
        lambda: Hue("x"),
        lambda: Flip(p="x"),
        lambda: Brightness("x"),
        lambda: RandomErasing(sl="x"),
        lambda: RandomErasing(max_count="x"),
    ],
)
def test_what_is_no_number(call):
    with pytest.raises(ConfigError, match=" is a number such as "):
        call()


def test_none_of_a_kind_is_left_out():
    assert aug_transforms(do_flip=False, max_warp=None, max_rotate=False, max_zoom=1, max_lighting=None) == []


@pytest.mark.parametrize("size", [None, 12])
@pytest.mark.parametrize("rows", [1, 8])
def test_pieces_make_the_same_batch_as_the_whole(size, rows, monkeypatch):
    batch = bytes_batch(21)
    monkeypatch.setattr(transform, "PIECE", rows * batch[0][0].numel())
    extra = [Saturation(p=0.5), Hue(p=0.5), RandomErasing(p=0.5), Normalize.from_stats(*imagenet_stats)]
    tfms = [IntToFloatTensor(), *aug_transforms(size=size, xtra_tfms=extra)]
    in_pieces = BatchPipeline(tfms, KINDS)(batch, torch_rng(3), True)
    monkeypatch.setattr(transform, "PIECE", 10**9)
    whole = BatchPipeline(tfms, KINDS)(batch, torch_rng(3), True)
    torch.testing.assert_close(
        in_pieces[0], whole[0], atol=1e-5, rtol=1e-5
    )  # alone, a mirrored row is not interpolated
    assert in_pieces[1] is batch[1] is whole[1]


def test_a_first_piece_that_stays_as_it_is_does_not_speak_for_the_others(monkeypatch):
    class Late(RowTransform):
        def by_rows(self, n, part, kinds, rng, train):
            return lambda batch, rows: batch if rows.start < 6 else (batch[0] + 1, *batch[1:])

    monkeypatch.setattr(transform, "PIECE", 3 * 4)
    x = torch.zeros(10, 4)
    changed, y = BatchPipeline([Late()], KINDS)((x, torch.arange(10)), torch_rng(0), True)
    assert changed[:, 0].tolist() == [0.0] * 6 + [1.0] * 4 and y.tolist() == list(range(10)) and not x.any()


def test_a_piece_that_fails_is_told_with_its_transform(monkeypatch):
    monkeypatch.setattr(transform, "PIECE", 1)

    class Picky(RowTransform):
        def by_rows(self, n, part, kinds, rng, train):
            def change(batch, rows):
                if rows.start:
                    raise ValueError("not these rows")
                return batch

            return change

        def __repr__(self):
            return "Picky()"

    with pytest.raises(
        DataError, match=r"The batch transform Picky\(\) failed on tensors of shapes \(1, 3, .*not these"
    ):
        BatchPipeline([IntToFloatTensor(), Picky()], KINDS)(bytes_batch(20), torch_rng(0), True)
