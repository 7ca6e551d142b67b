"""The one door for pixels: files, bytes and arrays in, upright 8-bit pictures of one mode and size out.

Training, prediction and serving all come through here, so that a picture never looks different to a model than it did
in training. Pillow and NumPy only.
"""

from __future__ import annotations

from fastlearn.pixels.convert import from_array as from_array
from fastlearn.pixels.convert import to_array as to_array
from fastlearn.pixels.fit import AtMost as AtMost
from fastlearn.pixels.fit import Fixed as Fixed
from fastlearn.pixels.fit import PadMode as PadMode
from fastlearn.pixels.fit import ResizeMethod as ResizeMethod
from fastlearn.pixels.fit import fit_box as fit_box
from fastlearn.pixels.fit import resample as resample
from fastlearn.pixels.opening import decoder as decoder
from fastlearn.pixels.opening import image_size as image_size
from fastlearn.pixels.opening import open_image as open_image
