"""Names of data sets, their addresses and fingerprints."""

from __future__ import annotations

import pytest

from fastlearn.data.download import URLs
from fastlearn.data.urls import FINGERPRINTS, published
from fastlearn.errors import ConfigError

pytestmark = pytest.mark.usefixtures("home")


def test_every_published_fingerprint_belongs_to_an_address() -> None:
    names = {address.rsplit("/", 1)[-1] for address in published().values()}
    assert set(FINGERPRINTS) == {name for name in names if "." in name}


def test_a_misspelt_name_is_told_the_near_one() -> None:
    with pytest.raises(ConfigError, match="Did you mean 'CLIPART'"):
        URLs.CLIPARTS  # noqa: B018
    assert not hasattr(URLs, "NOTHING")
