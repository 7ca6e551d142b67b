"""Losses that know how to turn a model's output into probabilities (`activation`) and into an answer (`decodes`).

`activation_of`, `decodes_of` and `per_sample` do the same for any loss: torch's modules and functions, partials, or
one's own.
"""

from __future__ import annotations

from fastlearn.losses.base import Reduction as Reduction
from fastlearn.losses.classes import CrossEntropyLossFlat as CrossEntropyLossFlat
from fastlearn.losses.classes import FocalLoss as FocalLoss
from fastlearn.losses.classes import FocalLossFlat as FocalLossFlat
from fastlearn.losses.classes import LabelSmoothingCrossEntropy as LabelSmoothingCrossEntropy
from fastlearn.losses.classes import LabelSmoothingCrossEntropyFlat as LabelSmoothingCrossEntropyFlat
from fastlearn.losses.meaning import activation_of as activation_of
from fastlearn.losses.meaning import decodes_of as decodes_of
from fastlearn.losses.meaning import per_sample as per_sample
from fastlearn.losses.outputs import BCELossFlat as BCELossFlat
from fastlearn.losses.outputs import BCEWithLogitsLossFlat as BCEWithLogitsLossFlat
from fastlearn.losses.outputs import L1LossFlat as L1LossFlat
from fastlearn.losses.outputs import MSELossFlat as MSELossFlat
