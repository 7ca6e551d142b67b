"""Bytes to floats, and normalised and back."""

import pickle

import torch
from byte_batches import KINDS, plain, run

from fastlearn.data.transform import BatchPipeline
from fastlearn.runtime.seed import torch_rng
from fastlearn.vision.augment import (
    IntToFloatTensor,
    Normalize,
    imagenet_stats,
)


def test_bytes_become_floats_first_and_only_once():
    images = run([])
    assert images.dtype == torch.float32 and torch.equal(images, plain())
    floats = torch.rand(2, 3, 4, 4)
    assert run([], (floats, torch.arange(2))) is floats
    (mask,) = IntToFloatTensor()((torch.ones(1, 2, 2, dtype=torch.uint8),), ("mask",), torch_rng(0), True)
    assert mask.dtype == torch.int64


def test_normalize_and_back():
    normalize = Normalize.from_stats(*imagenet_stats)
    images = run([normalize])
    mean, std = (torch.tensor(stat).view(1, 3, 1, 1) for stat in imagenet_stats)
    torch.testing.assert_close(images, (plain() - mean) / std)
    pipeline = BatchPipeline([IntToFloatTensor(), normalize], KINDS)
    torch.testing.assert_close(pipeline.decode((images, torch.arange(4)))[0], plain(), atol=1e-6, rtol=0)
    again = pickle.loads(pickle.dumps(normalize))
    assert torch.equal(again.mean, normalize.mean) and repr(again) == repr(normalize)
    assert repr(normalize) == "Normalize(mean=[0.485, 0.456, 0.406], std=[0.229, 0.224, 0.225])"
