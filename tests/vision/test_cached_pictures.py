"""Pictures through a cache: the same bits as without one, in less work, and never those of another file."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from fastlearn.data.block import DataBlock
from fastlearn.data.cache import DiskCache, MemoryCache
from fastlearn.data.files import get_image_files
from fastlearn.data.part import TransformBlock
from fastlearn.errors import ConfigError, ImageError
from fastlearn.pixels import from_array, to_array
from fastlearn.runtime.seed import RunKey, numpy_rng
from fastlearn.vision import blocks
from fastlearn.vision.augment import Normalize, aug_transforms, imagenet_stats
from fastlearn.vision.blocks import ImageBlock
from fastlearn.vision.data import ImageDataLoaders
from fastlearn.vision.image import PILImage, PILImageBW
from fastlearn.vision.transforms import FlipItem, RandomResizedCrop, Resize

KEY = RunKey(5, "train", 3)
N = 12


def mirrored(picture: Image.Image) -> Image.Image:
    """A transform of one's own, after the resize."""
    return picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)


mirrored.order = 2  # type: ignore[attr-defined]
TFMS = {
    "crop": Resize(24),
    "pad": Resize((24, 30), "pad"),
    "squish": Resize((24, 20), "squish"),
    "part": RandomResizedCrop(16, min_scale=0.3),
    "two": [Resize(24), mirrored],
}


def photo(size: tuple[int, int], seed: int) -> Image.Image:
    """A smooth picture of (width, height), unlike any other seed's."""
    coarse = np.random.default_rng(seed).integers(0, 256, (5, 6, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """JPEGs and PNGs of several sizes, one of them turned by its EXIF, in two classes."""
    root = tmp_path / "pets"
    for i in range(N):
        path = root / ("cat", "dog")[i % 2] / f"{i}.{('jpg', 'png')[i % 3 == 2]}"
        path.parent.mkdir(parents=True, exist_ok=True)
        exif = Image.Exif()
        exif[0x0112] = 6 if i == 4 else 1
        photo((150 + 7 * i, 120), i).save(path, exif=exif)
    return root


@pytest.fixture(autouse=True)
def decoded(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[str]:
    """A cache folder of its own, and the names of the files that were opened to be decoded, one after another."""
    monkeypatch.setenv("FASTLEARN_CACHE", str(tmp_path / "cache"))
    names: list[str] = []

    def opened(source: Any, *args: Any) -> Image.Image:
        names.append(os.path.basename(str(source)))
        return opening(source, *args)

    opening = blocks.open_image
    monkeypatch.setattr(blocks, "open_image", opened)
    return names


def loaders(folder: Path, cache: Any = "auto", item_tfms: Any = None, **options: Any) -> ImageDataLoaders:
    tfms = {"batch_tfms": aug_transforms(), "bs": 5, "num_workers": 0, "device": "cpu", "seed": 1} | options
    return ImageDataLoaders.from_folder(folder, item_tfms=item_tfms or Resize(24), cache=cache, **tfms)


def batches(dls: Any, key: RunKey = KEY) -> list[torch.Tensor]:
    return [part for loader in dls.loaders for batch in loader.batches(key) for part in batch]


def assert_same(one: list[torch.Tensor], other: list[torch.Tensor]) -> None:
    assert len(one) == len(other) and all(map(torch.equal, one, other))


@pytest.mark.parametrize("kind", ["memory", "disk"])
@pytest.mark.parametrize("item_tfms", TFMS.values(), ids=TFMS.keys())
def test_no_pixel_depends_on_the_cache(folder: Path, kind: Any, item_tfms: Any, decoded: list[str]) -> None:
    plain = batches(loaders(folder, False, item_tfms))
    assert len(decoded) == len(set(decoded)) == N
    cached = loaders(folder, kind, item_tfms)
    for _ in range(3):  # while it is filled, and full
        assert_same(batches(cached), plain)
    assert len(decoded) == 2 * N


@pytest.mark.parametrize("train", [True, False])
@pytest.mark.parametrize("size", [(120, 190), (200, 90), (24, 24), (3, 100)])
def test_a_cut_is_what_a_call_makes(size: tuple[int, int], train: bool) -> None:
    for tfm in (Resize(24), Resize((20, 31)), Resize((24, 20), "squish"), Resize(24, "pad")):
        picture = PILImage.wrap(photo(size, 1))
        fixed = tfm.fixed.of(picture.shape) or picture.shape
        pixels = to_array(PILImage.create(picture, tfm.fixed))
        assert pixels.shape[1:] == fixed
        cut = tfm.cut(pixels, numpy_rng(7), train)
        if cut is not None:
            called = tfm((PILImage.wrap(from_array(pixels)),), ("image",), numpy_rng(7), train)[0]
            assert np.array_equal(cut, to_array(called))
        assert (cut is None) == (tfm.method == "pad" or max(size) > 16 * min(size) and tfm.method == "crop")


@pytest.mark.parametrize("workers", [0, 2])
def test_threads_share_the_cache(folder: Path, workers: int, decoded: list[str]) -> None:
    plain = batches(loaders(folder, False))
    cached = loaders(folder, "memory", num_workers=workers)
    for _ in range(2):
        assert_same(batches(cached), plain)
    assert len(decoded) == 2 * N


class Watched(Normalize):
    """Notes which thread transforms a batch, and with how many of torch's threads."""

    def by_rows(self, *args: Any) -> Any:
        SEEN.append((threading.current_thread() is threading.main_thread(), torch.get_num_threads()))
        return super().by_rows(*args)


SEEN: list[tuple[bool, int]] = []


@pytest.mark.parametrize("ours", [True, False])
def test_readers_transform_with_one_thread_each_what_is_safe_to_share(
    folder: Path, monkeypatch: pytest.MonkeyPatch, ours: bool
) -> None:
    tfms = [*aug_transforms(), Watched.from_stats(*imagenet_stats)]
    plain = batches(loaders(folder, batch_tfms=tfms))
    monkeypatch.setattr(Watched, "__module__", "fastlearn.watched" if ours else "mine")
    SEEN.clear()
    n_threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        assert_same(batches(loaders(folder, batch_tfms=tfms, num_workers=2)), plain)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(n_threads)
    assert SEEN and set(SEEN) == ({(False, 1)} if ours else {(True, 2)})


def test_processes_share_the_disk(folder: Path, decoded: list[str]) -> None:
    plain = batches(loaders(folder, False))
    decoded.clear()
    cached = loaders(folder, "disk").new(num_workers=2, workers="process")
    for _ in range(2):
        assert_same(batches(cached), plain)
    kept = cached.train_ds.cache
    kept.refresh()
    assert isinstance(kept, DiskCache) and kept.n_pictures == N
    assert_same(batches(loaders(folder, "disk")), plain)
    assert len(decoded) <= 2  # by this process, which reads a loader of one batch itself


def test_the_next_session_decodes_nothing(folder: Path, decoded: list[str]) -> None:
    plain = batches(loaders(folder, "disk"))
    decoded.clear()
    assert_same(batches(loaders(folder, "disk")), plain)
    assert decoded == []
    batches(loaders(folder, "disk", Resize(25)))  # another size is another picture
    batches(loaders(folder, "disk", img_cls=PILImageBW))
    assert len(decoded) == 2 * N


@pytest.mark.parametrize("kind", ["memory", "disk"])
def test_a_changed_file_is_decoded_anew(folder: Path, kind: Any, decoded: list[str]) -> None:
    dls = loaders(folder, kind)
    before = batches(dls)
    changed = next(folder.rglob("7.jpg"))
    changed.unlink()
    photo((140, 130), 99).save(changed)
    decoded.clear()
    after = batches(dls)
    assert decoded == ["7.jpg"] and any(not torch.equal(*pair) for pair in zip(before, after, strict=True))
    assert_same(after, batches(loaders(folder, False)))


@pytest.mark.parametrize("kind", ["memory", "disk", False])
def test_a_removed_file_is_named(folder: Path, kind: Any) -> None:
    dls = loaders(folder, kind)
    batches(dls)
    next(folder.rglob("7.jpg")).unlink()
    with pytest.raises(ImageError, match=r"7\.jpg"):
        batches(dls)


def test_one_line_says_which(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert isinstance(loaders(folder).train_ds.cache, MemoryCache)
    assert capsys.readouterr().out.splitlines()[-1].startswith("Pictures are cached in memory (33 kB)")
    dls = loaders(folder, "disk")
    assert dls.train_ds.cache is dls.valid_ds.cache
    assert "Pictures are cached in " in capsys.readouterr().out
    assert loaders(folder, False).train_ds.cache is None
    assert capsys.readouterr().out == ""


def test_new_items_are_not_kept(folder: Path) -> None:
    dls = loaders(folder, "memory")
    for _ in dls.test_dl(get_image_files(folder)).batches(KEY):
        pass
    assert dls.train_ds.cache.n_pictures == 0


def test_a_wrong_kind_is_refused_at_the_call(folder: Path) -> None:
    with pytest.raises(ConfigError, match="cache='ram': expected 'auto', 'disk', 'memory', True or False"):
        loaders(folder, "ram")


class Dim(PILImage):
    """Opens pictures in its own way, of which a cache knows nothing."""

    @classmethod
    def create(cls, source: Any, fixed: Any = None) -> Any:
        return cls.wrap(PILImage.create(source).point(lambda level: level // 2))


def test_what_has_no_fixed_part_is_read_each_time(folder: Path, decoded: list[str]) -> None:
    with pytest.raises(ConfigError, match="cache='memory' keeps decoded and resized pictures.*Resize as the first"):
        loaders(folder, "memory", img_cls=Dim)
    with pytest.raises(ConfigError, match="Resize as the first of item_tfms"):
        loaders(folder, "disk", [FlipItem(), Resize(24)])
    dark, light = loaders(folder, img_cls=Dim), loaders(folder)
    assert dark.train_ds.cache is None and batches(dark)[0].mean() < batches(light)[0].mean()


def test_arrays_are_in_memory_already() -> None:
    block = DataBlock(ImageBlock, get_items=list, item_tfms=Resize(16))
    arrays = [np.full((20, 30, 3), 10 * i, np.uint8) for i in range(8)]
    with pytest.raises(ConfigError, match="cache='memory' keeps decoded and resized pictures.*it takes files"):
        block.dataloaders(arrays, bs=2, device="cpu", cache="memory")
    assert block.dataloaders(arrays, bs=2, device="cpu").train_ds.cache is None


class Mask(TransformBlock):
    """A mask of zeros that goes with its picture."""

    kind = "mask"

    def create(self, raw: Any) -> Any:
        return Image.fromarray(np.zeros((30, 40), np.uint8))


def test_pictures_with_masks_are_read_each_time(tmp_path: Path) -> None:
    for i in range(5):
        photo((40, 30), i).save(tmp_path / f"{i}.png")
    block = DataBlock((ImageBlock, Mask), item_tfms=Resize(16))
    dls = block.dataloaders(sorted(tmp_path.glob("*.png")), bs=2, device="cpu")
    assert dls.train_ds.cache is None and dls.one_batch()[1].shape == (2, 16, 16)


def test_a_collate_of_ones_own_may_write_to_its_samples(folder: Path) -> None:
    dls = loaders(folder, "memory")

    def collate(samples: list[Any]) -> Any:
        pictures = [torch.from_numpy(sample[0]) for sample in samples]  # warns of arrays that must not be written to
        for picture in pictures:
            picture.zero_()
        return torch.stack(pictures), torch.tensor([int(sample[1]) for sample in samples])

    plain = batches(dls)
    for _ in dls.train.new(collate=collate).batches(KEY):
        pass
    assert_same(batches(dls), plain)


def test_a_full_disk_leaves_the_training_without_a_cache(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    plain = batches(loaders(folder, False))
    dls = loaders(folder, "disk")

    def full(*args: Any) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("fastlearn.data.shards.os.write", full)
    for _ in range(2):
        assert_same(batches(dls), plain)
    said = capsys.readouterr().out
    assert said.count("From here on no picture is added to the cache: the disk of") == 1
