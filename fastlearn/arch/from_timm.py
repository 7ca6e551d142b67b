"""timm's networks by name, as bodies: without pooling and classifier, and with none of their weights left random."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn

from fastlearn.arch.download import STALL_S, from_torch_hub, no_weights, stall_limit, unreachable
from fastlearn.arch.lite0 import LITE0, lite0_file, lite0_state_dict
from fastlearn.arch.weights_file import is_weights_file, read_state_dict, reason_of
from fastlearn.errors import ConfigError, WeightsError, near

_TIMM_CACHE_FILES = ("model.safetensors", "pytorch_model.bin")


def check_timm_name(name: str) -> None:
    """ConfigError, with near matches, unless timm has this architecture and, after the dot, these weights."""
    import timm

    base, _, tag = name.partition(".")
    if not timm.is_model(base):
        raise ConfigError(
            f"Unknown arch {name!r}: a string names a timm architecture.{near(base, timm.list_models())} "
            'To list them: import timm; timm.list_models("*resnet*").'
        )
    if tag:
        known = [other for other in timm.list_pretrained(f"{base}.*") if other.startswith(f"{base}.")]
        if name not in known:
            raise ConfigError(f"Unknown weights {tag!r} of {base}. Expected one of {', '.join(known) or 'none'}.")


def timm_config(name: str) -> Any:
    """What timm knows of the pretrained weights of `name`: where they are, and how their pictures were made."""
    import timm

    return timm.get_pretrained_cfg(name)


def timm_network(name: str, pretrained: bool, weights: Any, n_in: int) -> nn.Module:
    """timm's `name` as a body; its weights are random, out of the file `weights`, or what `name` picks."""
    if not pretrained:
        return _timm_features(name, False, None, {"in_chans": n_in} if n_in != 3 else {})
    if weights is not None:
        if not is_weights_file(weights):
            raise ConfigError(
                f"weights={weights!r} is no file. For timm the name itself picks the weights, as in "
                '"resnet18.a1_in1k"; or give the path of a .pth or .safetensors file.'
            )
        return _timm_features(name, True, {"state_dict": read_state_dict(weights), "custom_load": False}, {})
    return _timm_features(name, True, _timm_source(name), {})


def _timm_source(name: str) -> dict[str, Any] | None:
    """Where timm shall read the weights: what is on this machine already, else None, which is its own download."""
    import timm

    cfg = timm_config(name)
    if name in (LITE0, f"{LITE0}.in1k") and lite0_file() is not None:
        return {"state_dict": lite0_state_dict()}
    if not cfg.hf_hub_id and not cfg.url:
        with_weights = timm.list_pretrained(f"{name.partition('_')[0]}*")[:4]
        raise WeightsError(f"No pretrained weights exist for {name}. Try {with_weights}, or pass pretrained=False.")
    if not cfg.hf_hub_id:
        return {"state_dict": from_torch_hub(name, cfg.url)} if not cfg.custom_load else None
    from huggingface_hub import constants, try_to_load_from_cache

    repo = cfg.hf_hub_id
    files = (cfg.hf_hub_filename,) if cfg.hf_hub_filename else _TIMM_CACHE_FILES
    cached = [path for path in (try_to_load_from_cache(repo, file) for file in files) if isinstance(path, str)]
    if cached and not cfg.custom_load:
        return {"state_dict": read_state_dict(cached[0])}
    where = f"{constants.ENDPOINT}/{repo}/resolve/main/{files[0]}"
    reason = "HF_HUB_OFFLINE is set" if constants.HF_HUB_OFFLINE else unreachable(constants.ENDPOINT)
    if reason:  # asked first, because the hub's client retries for half a minute
        raise no_weights(name, where, reason, f'download {where} and pass weights="<its path>"')
    return None


def _timm_features(name: str, pretrained: bool, source: dict[str, Any] | None, options: dict[str, Any]) -> nn.Module:
    """The network as a body. Transformers that can take any picture size are told to; some cannot give up pooling."""
    import timm

    fixed = bool(timm_config(name).fixed_input_size)
    attempts: list[dict[str, Any]] = [{"global_pool": "", "dynamic_img_size": True}] if fixed else []
    problem: Exception | None = None
    for attempt in [*attempts, {"global_pool": ""}, {}]:
        try:
            with stall_limit(STALL_S), _missing_keys() as missing:
                network: nn.Module = timm.create_model(
                    name, pretrained, num_classes=0, pretrained_cfg_overlay=source, **attempt, **options
                )
        except (TypeError, AssertionError) as error:  # an option that this network does not have
            problem = error
        except Exception as error:
            if not pretrained:
                raise
            if source is not None:
                raise WeightsError(f"The weights do not fit {name}: {reason_of(error)}") from None
            raise no_weights(name, "its hub", reason_of(error), 'download them and pass weights="<path>"') from None
        else:
            _check_complete(network, missing, name)
            return network
    raise ConfigError(f"timm's {name} cannot be made into a body: {reason_of(problem or TypeError())}")


class _Listener(logging.Handler):
    """Collects the names of the weights that timm did not find in a file: it tells of them in its log alone."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.keys: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        found = re.match(r"Missing keys \((.*?)\)", record.getMessage())
        self.keys += found[1].split(", ") if found else []


@contextmanager
def _missing_keys() -> Iterator[list[str]]:
    log, listener = logging.getLogger("timm.models._builder"), _Listener()
    before = log.level, log.propagate
    log.addHandler(listener)
    log.setLevel(logging.INFO)
    log.propagate = False
    try:
        yield listener.keys
    finally:
        log.removeHandler(listener)
        log.setLevel(before[0])
        log.propagate = before[1]


def _check_complete(network: nn.Module, missing: list[str], name: str) -> None:
    """No matrix or kernel may stay random; vectors (a norm that pooling brings along) start as the identity."""
    network.pretrained_cfg.pop("state_dict", None)  # type: ignore[operator, union-attr]  # timm would keep all of it
    parameters = dict(network.named_parameters())
    random = [key for key in missing if key in parameters and parameters[key].dim() > 1]
    if random:
        raise WeightsError(f"The weights do not fit {name}: {len(random)} are missing, such as {random[0]}.")
