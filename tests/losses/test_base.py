"""What the losses share: buffers that follow, and a repr."""

from __future__ import annotations

from fastlearn.losses import (
    CrossEntropyLossFlat,
)


def test_weights_follow_the_module():
    assert CrossEntropyLossFlat(weight=[1.0, 2.0]).to("meta").weight.is_meta
    assert CrossEntropyLossFlat(weight=[1.0, 2.0]).state_dict() == {}
    assert "reduction='mean'" in repr(CrossEntropyLossFlat())
