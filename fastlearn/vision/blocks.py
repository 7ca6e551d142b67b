"""`ImageBlock`: a picture as part of a sample, for `DataBlock`."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

from fastlearn.data.part import Kind, TransformBlock, WrongName, check_wrong_name
from fastlearn.errors import ConfigError
from fastlearn.options import named_options
from fastlearn.pixels import decoder, from_array, image_size, open_image, to_array
from fastlearn.vision.augment import IntToFloatTensor
from fastlearn.vision.image import PILImage
from fastlearn.vision.plot import ImageDisplay

if TYPE_CHECKING:
    from PIL.Image import Image

CHANNELS_OF_MODE = {"L": 1, "RGB": 3, "RGBA": 4}


class ImagePart(TransformBlock):
    """Pictures: uint8 (channels, height, width) until they are on the device, then floats from 0 to 1."""

    kind: Kind = "image"
    display = ImageDisplay()

    def __init__(self, cls: type[PILImage] = PILImage, wrong_name: WrongName = "raise") -> None:
        if not hasattr(cls, "create"):
            raise ConfigError(f"ImageBlock takes a class such as PILImage or PILImageBW, not {cls!r}.")
        check_wrong_name(wrong_name)
        super().__init__(batch_tfms=IntToFloatTensor)
        self.cls, self.wrong_name = cls, wrong_name

    def create(self, raw: Any) -> PILImage:
        """The picture of a path, bytes, a Pillow image or an array."""
        return self.cls.create(raw)

    def recipe(self, fixed: Any) -> str | None:
        """Mode, size and decoder; None where `create` is the user's own."""
        opens = getattr(self.cls.create, "__func__", None)
        ours = type(self).create is ImagePart.create and opens is PILImage.create.__func__  # type: ignore[attr-defined]
        return f"{self.cls.pixel_mode}, {fixed}, {decoder()}" if ours else None

    def pixels(self, raw: Any, fixed: Any) -> np.ndarray:
        """The picture of a raw value, decoded and resized in one: uint8 (channels, height, width)."""
        return to_array(open_image(raw, self.cls.pixel_mode, fixed))

    def n_bytes(self, raw: Any, fixed: Any) -> int:
        """As many as `pixels` gives, from the header of a file. Raises ImageError."""
        size = image_size(raw)
        height, width = fixed.of(size) or size
        return CHANNELS_OF_MODE[self.cls.pixel_mode] * height * width

    def from_pixels(self, pixels: np.ndarray) -> PILImage:
        """The picture of these pixels."""
        return self.cls.wrap(from_array(pixels))

    def encode(self, obj: Any) -> np.ndarray:
        """(channels, height, width); a tensor that a user's transform has made stays as it is."""
        if isinstance(obj, Tensor):
            return obj.numpy()
        plain = obj if getattr(obj, "mode", None) in CHANNELS_OF_MODE else open_image(obj, self.cls.pixel_mode)
        return to_array(plain)

    def decode(self, part: Tensor) -> PILImage:
        """A picture of floats from 0 to 1, or of bytes; of more channels than a picture has, the first three."""
        pixels = part if not part.is_floating_point() else part.float().clamp(0, 1).mul(255).round()
        shown = pixels[:3] if len(pixels) > 4 else pixels[:1] if len(pixels) == 2 else pixels
        mode = {count: mode for mode, count in CHANNELS_OF_MODE.items()}[len(shown)]
        return PILImage.wrap(open_image(shown.byte(), mode))

    def accepts(self, item: Any) -> bool:
        """Paths, bytes, files, Pillow images, arrays and tensors."""
        return isinstance(item, (str, os.PathLike, bytes, bytearray, np.ndarray, Tensor)) or _is_picture(item)

    def __repr__(self) -> str:
        return "ImageBlock" if self.cls is PILImage else f"ImageBlock({self.cls.__name__})"


@named_options
def ImageBlock(cls: type[PILImage] = PILImage, wrong_name: WrongName = "raise") -> ImagePart:
    """A picture, opened as `cls`: `PILImage` (three channels) or `PILImageBW` (one).

    Files of another format than their name says (a PNG called .jpg) are refused before training; with
    `wrong_name="warn"` they are read by their content, and the report of `dls.check()` names them.

    >>> DataBlock(blocks=(ImageBlock(cls=PILImageBW), CategoryBlock), get_items=get_image_files, get_y=parent_label)
    """
    return ImagePart(cls, wrong_name)


def _is_picture(item: Image | Any) -> bool:
    return hasattr(item, "getexif") or hasattr(item, "read")
