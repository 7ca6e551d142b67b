import numpy as np
import pytest
import torch
from PIL import Image

from fastlearn.data.block import CategoryBlock, DataBlock
from fastlearn.data.label import parent_label
from fastlearn.data.split import RandomSplitter
from fastlearn.errors import ConfigError
from fastlearn.vision.augment import Normalize, imagenet_stats
from fastlearn.vision.blocks import ImageBlock
from fastlearn.vision.image import PILImage, PILImageBW


def picture(seed=0, shape=(6, 8, 3)):
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def test_encode_and_decode_are_inverse():
    block, pixels = ImageBlock(), picture()
    encoded = block.encode(block.create(pixels))
    assert encoded.dtype == np.uint8 and np.array_equal(encoded, pixels.transpose(2, 0, 1))
    for tensor in (torch.from_numpy(encoded), torch.from_numpy(encoded).float() / 255):
        decoded = block.decode(tensor)
        assert isinstance(decoded, PILImage) and np.array_equal(np.asarray(decoded), pixels)
    assert repr(block) == "ImageBlock" and repr(ImageBlock(PILImageBW)) == "ImageBlock(PILImageBW)"


def test_grey_pictures_have_one_channel():
    block = ImageBlock(cls=PILImageBW)
    encoded = block.encode(block.create(picture()))
    assert encoded.shape == (1, 6, 8) and block.decode(torch.from_numpy(encoded)).mode == "L"


def test_what_users_transforms_return_is_encoded():
    block, image = ImageBlock(), PILImage.create(picture())
    assert block.encode(image.convert("L")).shape == (1, 6, 8)
    assert block.encode(image.quantize(8)).shape == (3, 6, 8)
    assert block.encode(picture()).shape == (3, 6, 8)
    assert block.encode(torch.zeros(5, 6, 8)).shape == (5, 6, 8)
    assert block.decode(torch.zeros(5, 6, 8)).size == (8, 6) and block.decode(torch.zeros(2, 6, 8)).mode == "L"


def test_accepts_raw_inputs_only():
    block = ImageBlock()
    for item in ("a.jpg", b"abc", Image.new("L", (2, 2)), picture(), torch.zeros(3, 2, 2)):
        assert block.accepts(item)
    assert not block.accepts(3) and not block.accepts({"file": "a.jpg"})
    with pytest.raises(ConfigError, match="PILImageBW"):
        ImageBlock(cls=int)


def test_in_a_data_block(tmp_path):
    for k in range(12):
        folder = tmp_path / ("cat" if k % 2 else "dog")
        folder.mkdir(exist_ok=True)
        Image.fromarray(picture(k)).save(folder / f"{k}.png")
    block = DataBlock(
        blocks=(ImageBlock, CategoryBlock),
        get_items=lambda path: sorted(path.rglob("*.png")),
        get_y=parent_label,
        splitter=RandomSplitter(0.25, seed=1),
        batch_tfms=Normalize.from_stats(*imagenet_stats),
    )
    dls = block.dataloaders(tmp_path, bs=4, num_workers=0, device="cpu")
    images, labels = dls.one_batch()
    assert images.shape == (4, 3, 6, 8) and images.dtype == torch.float32 and labels.dtype == torch.int64
    (shown, label), *_ = dls.train.decode_batch((images, labels))
    files = {Image.open(path).tobytes(): path.parent.name for path in tmp_path.rglob("*.png")}
    assert files[shown.tobytes()] == label  # normalisation undone to the last bit
    assert isinstance(dls.train_ds[0][0], PILImage)
    for raw in (str(next(tmp_path.rglob("*.png"))), Image.fromarray(picture()), picture()):
        item = [raw] if isinstance(raw, np.ndarray) else raw
        (batch,) = next(iter(dls.test_dl(item)))
        assert batch.shape == (1, 3, 6, 8)
