"""A picture with a colour in each corner, and pictures as bytes."""

import io

from PIL import Image

RED, GREEN, BLUE = (255, 0, 0), (0, 255, 0), (0, 0, 255)


def corners() -> Image.Image:
    """24x16, a different colour in each quarter."""
    image = Image.new("RGB", (24, 16), RED)
    image.paste(GREEN, (12, 0, 24, 8))
    image.paste(BLUE, (0, 8, 12, 16))
    return image


def saved(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()
