"""`PILImage` and `PILImageBW`: Pillow images that are made from anything and show themselves in a notebook."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Self

from PIL.Image import Image

from fastlearn.errors import ConfigError
from fastlearn.options import checked_number, named_options
from fastlearn.pixels import AtMost, Fixed, open_image

if TYPE_CHECKING:
    from matplotlib.axes import Axes


class PILImage(Image):
    """An upright 8-bit RGB picture, a `PIL.Image.Image` in every respect.

    >>> image = PILImage.create("photo.jpg")
    >>> image.shape, image.to_thumb(128)
    """

    pixel_mode: ClassVar[str] = "RGB"

    @classmethod
    def create(cls, source: Any, fixed: Fixed | AtMost | None = None) -> Self:
        """A picture from a path, bytes, file object, Pillow image, array or tensor; see `pixels.open_image`.

        Raises ImageError that names the file and what is wrong with it.
        """
        return cls.wrap(open_image(source, cls.pixel_mode, fixed))

    @classmethod
    def wrap(cls, image: Image) -> Self:
        """`image` itself (mode and pixels untouched) as one of this class; it must be a plain, loaded Pillow image."""
        image.__class__ = cls  # Pillow's images have no public way to make a subclass without copying the pixels
        return image  # type: ignore[return-value]

    @property
    def shape(self) -> tuple[int, int]:
        """(height, width)."""
        return self.height, self.width

    def to_thumb(self, h: int, w: int | None = None) -> Self:
        """A copy of the same shape that fits into `h` by `w` (default: `h`) pixels; never enlarged."""
        height, width = checked_number(h, "h", 128), checked_number(h if w is None else w, "w", 128)
        if not (height >= 1 and width >= 1):
            raise ConfigError(f"A thumbnail fits into a pixel or more, not {height} by {width}. Type to_thumb(128).")
        thumb = self.copy()
        thumb.thumbnail((width, height))
        return type(self).wrap(thumb)

    @named_options
    def show(  # type: ignore[override]
        self,
        title: str | None = None,
        *,
        ax: Axes | None = None,
        ctx: Axes | None = None,
        figsize: tuple[float, float] | None = None,
        cmap: str | None = None,
    ) -> Axes:
        """Draw the picture with matplotlib, into `ax` when given (`ctx` is another word for it), and give the axes."""
        from fastlearn.vision.plot import show_image

        return show_image(self, ax=ctx if ax is None else ax, title=title, figsize=figsize, cmap=cmap)

    def __repr__(self) -> str:
        return f"{type(self).__name__} mode={self.mode} size={self.width}x{self.height}"


class PILImageBW(PILImage):
    """An upright picture of one 8-bit grey channel."""

    pixel_mode: ClassVar[str] = "L"
