import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as TF

from fastlearn.pixels import PadMode
from fastlearn.vision import geometry as g
from fastlearn.vision.geometry import Crop, Homographies


def pictures(n=2, h=12, w=12, seed=0):
    return torch.rand(n, 3, h, w, generator=torch.Generator().manual_seed(seed))


def smooth(size=65):
    y, x = torch.meshgrid(torch.linspace(-2, 2, size), torch.linspace(-3, 1, size), indexing="ij")
    return torch.stack([torch.sin(x) + y / 4, torch.cos(x * y), (x + y) / 5])[None]


@pytest.mark.parametrize("align_corners", [True, False])
def test_the_identity_gives_back_the_same_tensor(align_corners):
    images = pictures()
    assert Homographies(g.identity(2), (12, 12), align_corners=align_corners).apply_images(images) is images
    placed = Homographies(g.identity(2), (12, 12), align_corners=align_corners).of(images.shape, images.device)
    sampled = placed.sample(images, slice(None), "bilinear")
    torch.testing.assert_close(sampled, images, atol=2e-6, rtol=0)


@pytest.mark.parametrize("align_corners", [True, False])
@pytest.mark.parametrize("turn", range(8))
def test_the_eight_turns_are_exact_and_agree_with_sampling_and_pillow(turn, align_corners):
    images = pictures(1, 5, 5)
    placed = Homographies(
        g.dihedral(torch.tensor([turn])), (5, 5), pad_mode=PadMode.Border, align_corners=align_corners
    )
    exact = placed.apply_images(images)
    sampled = placed.of(images.shape, images.device).sample(images, slice(None), "bilinear")
    torch.testing.assert_close(sampled, exact, atol=2e-6, rtol=0)
    picture = Image.fromarray((images[0] * 255).byte().permute(1, 2, 0).numpy())
    turned = Crop((0, 0, 5, 5), (5, 5), turn=turn).apply_image(picture)
    assert np.array_equal(np.asarray(turned), (exact[0] * 255).byte().permute(1, 2, 0).numpy())


def test_oblong_pictures_are_mirrored_exactly_each_by_its_own_turn():
    images = pictures(4, 6, 9)
    moved = Homographies(g.dihedral(torch.tensor([0, 1, 2, 3])), (6, 9)).apply_images(images)
    for i, axes in enumerate([[], [-1], [-2], [-1, -2]]):
        assert torch.equal(moved[i], images[i].flip(axes) if axes else images[i])


@pytest.mark.parametrize("degrees", [90.0, -90.0, 180.0])
def test_right_angles(degrees):
    images = pictures()
    turned = Homographies(g.rotation(torch.full((2,), degrees), (12, 12)), (12, 12)).apply_images(images)
    torch.testing.assert_close(turned, torch.rot90(images, int(degrees) // 90, (-2, -1)), atol=1e-5, rtol=0)


@pytest.mark.parametrize("size", [(40, 40), (30, 50)])
@pytest.mark.parametrize("degrees", [10.0, -33.0])
def test_rotation_is_torchvisions_also_for_oblong_pictures(size, degrees):
    images = pictures(1, *size)
    matrices = g.rotation(torch.tensor([degrees]), size)
    ours = Homographies(matrices, size, pad_mode=PadMode.Zeros, align_corners=False).apply_images(images)
    theirs = TF.rotate(images, degrees, interpolation=v2.InterpolationMode.BILINEAR)
    torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=0)


def test_warp_is_the_perspective_that_takes_the_corners_there():
    images, tilt = smooth(), torch.tensor([[0.2, -0.1]])
    matrices = g.warp(tilt)
    ours = Homographies(matrices, (65, 65), pad_mode=PadMode.Zeros).apply_images(images)
    x, y = 0.2, -0.1
    seen = [(-1 - y, -1 - x), (1 + y, -1 + x), (1 - y, 1 - x), (-1 + y, 1 + x)]  # clockwise from the top left
    pixels = [[(u + 1) * 32, (v + 1) * 32] for u, v in seen]
    theirs = TF.perspective(
        images,
        startpoints=pixels,
        endpoints=[[0, 0], [64, 0], [64, 64], [0, 64]],
        fill=0.0,
        interpolation=v2.InterpolationMode.BILINEAR,
    )
    torch.testing.assert_close(ours[..., 10:-10, 10:-10], theirs[..., 10:-10, 10:-10], atol=0.02, rtol=0)
    assert float((ours - images).abs().max()) > 0.1
    no_tilt = g.warp(torch.zeros(1, 2))
    torch.testing.assert_close(no_tilt, g.identity(1), atol=1e-12, rtol=0)


def test_zoom_shows_a_window_of_the_source():
    images = pictures(1, 9, 9)
    matrices = g.zoom(torch.tensor([2.0]), torch.tensor([[0.0, 1.0]]))
    ours = Homographies(matrices, (5, 5)).apply_images(images)
    torch.testing.assert_close(ours, images[:, :, 4:, :5], atol=1e-6, rtol=0)


def test_composition_in_one_interpolation_equals_two_on_a_smooth_picture():
    images = smooth(129)
    first = Homographies(g.rotation(torch.tensor([8.0]), (129, 129)), (129, 129))
    second = Homographies(g.warp(torch.tensor([[0.1, 0.15]])), (129, 129))
    once, twice = first.then(second).apply_images(images), second.apply_images(first.apply_images(images))
    inner = (..., slice(25, -25), slice(25, -25))
    torch.testing.assert_close(once[inner], twice[inner], atol=3e-3, rtol=0)
    other = second.then(first).apply_images(images)
    assert float((once - other)[inner].abs().max()) > 0.03  # the order matters


@pytest.mark.parametrize("align_corners", [True, False])
@pytest.mark.parametrize("factor", [2, 3])
def test_averaging_first_keeps_every_place(align_corners, factor):
    ramp = torch.stack(torch.meshgrid(torch.arange(61.0), torch.arange(50.0), indexing="ij"))[None]
    matrices = g.rotation(torch.tensor([5.0]), (61, 50)) @ g.window(torch.zeros(1, 2), torch.full((1, 2), 0.6))
    size = (int(61 * 0.6 / factor / g.SKIP), int(50 * 0.6 / factor / g.SKIP))
    placed = Homographies(matrices, size, align_corners=align_corners)
    assert placed.shrinkage(ramp.shape) == factor
    plain = placed.of(ramp.shape, ramp.device).sample(ramp, slice(None), "bilinear")
    torch.testing.assert_close(placed.apply_images(ramp), plain, atol=2e-3, rtol=0)


def test_shrinking_much_does_not_skip_pixels():
    stripes = (torch.arange(400) % 4 < 2).float().expand(1, 1, 400, 400)
    small = Homographies(g.identity(1), (50, 50)).apply_images(stripes)
    assert float((small - 0.5).abs().max()) < 0.26  # sampled without averaging this is 0 and 1


@pytest.mark.parametrize("size", [(41, 41), (31, 51)])
def test_points_and_masks_follow_the_pictures(size):
    height, width = size
    matrices = (
        g.rotation(torch.tensor([25.0]), size)
        @ g.warp(torch.tensor([[0.1, -0.1]]))
        @ g.zoom(torch.tensor([1.3]), torch.tensor([[0.4, 0.6]]))
    )
    placed = Homographies(matrices, size, pad_mode=PadMode.Zeros)
    mask = torch.zeros(1, height, width, dtype=torch.long)
    mask[0, 12:15, 20:23] = 3
    point = torch.tensor([[[21 / (width - 1) * 2 - 1, 13 / (height - 1) * 2 - 1]]])
    moved = placed.apply_points(point)[0, 0]
    seen = placed.apply_masks(mask)
    assert seen.dtype == torch.long and set(seen.unique().tolist()) == {0, 3}
    middle = (seen[0] == 3).nonzero().float().mean(0)
    expected = torch.stack([(moved[1] + 1) / 2 * (height - 1), (moved[0] + 1) / 2 * (width - 1)])
    torch.testing.assert_close(middle, expected, atol=0.5, rtol=0)
    picture = placed.apply_images((mask == 3)[:, None].float())[0, 0]
    assert float(picture[int(expected[0].round()), int(expected[1].round())]) > 0.9


@pytest.mark.parametrize("turn", range(8))
def test_points_follow_a_crop(turn):
    picture = Image.new("L", (40, 30))
    picture.paste(255, (20, 10, 22, 12))
    crop = Crop((5, 2, 35, 28), (52, 60), turn=turn)
    seen = np.asarray(crop.apply_image(picture))
    assert seen.shape == ((60, 52) if turn >= 4 else (52, 60))
    ((x, y),) = crop.apply_points(np.array([[21.0, 11.0]]))
    rows, columns = np.nonzero(seen > 128)
    assert abs(rows.mean() + 0.5 - y) < 0.6 and abs(columns.mean() + 0.5 - x) < 0.6


def test_masks_keep_their_classes_in_a_crop():
    mask = Image.fromarray(np.arange(64, dtype=np.uint8).reshape(8, 8) * 3)
    seen = np.asarray(Crop((0, 0, 8, 8), (21, 21)).apply_mask(mask))
    assert set(np.unique(seen)) <= set(np.asarray(mask).ravel())
