"""Vision models that can be rebuilt from JSON: a body by name, a head, and the arguments of both.

Imports no training code, so that a saved model can be rebuilt where only it is needed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

from torch import Tensor, nn

from fastlearn.arch.body import Cut, adapt_input, body_features, create_body, family_split
from fastlearn.arch.from_torchvision import is_torchvision
from fastlearn.arch.head import DROPS, HeadKind, check_bounds, create_head, init_head
from fastlearn.arch.weights import Arch, ArchRef, build_network, resolve_arch
from fastlearn.errors import CheckpointError, ConfigError, near
from fastlearn.options import checked_list, found, named_options

Init = Callable[[Tensor], object] | None


class VisionModel(nn.Sequential):
    """A body (0) and a head (1): (batch, channels, height, width) in, (batch, n_out) logits out.

    `spec` rebuilds it by name; None where a user's own function, module or cut went into it.
    """

    def __init__(self, *parts: Any, spec: ArchSpec | None = None) -> None:
        super().__init__(*parts)
        self.spec = spec

    @property
    def body(self) -> nn.Module:
        """What turns pictures into features."""
        return self[0]

    @property
    def head(self) -> nn.Module:
        """What turns features into outputs."""
        return self[1]


@dataclass(frozen=True)
class ArchSpec:
    """A vision model by name and arguments: all that is needed to build it again, but its weights.

    >>> ArchSpec("timm", "tf_efficientnet_lite0", n_out=10).build()
    """

    library: str
    name: str
    n_out: int
    n_in: int = 3
    cut: int | None = None
    head: HeadKind = "mlp"
    concat_pool: bool = True
    pool: bool = True
    lin_ftrs: tuple[int, ...] | None = None
    ps: float | tuple[float, ...] = 0.5
    first_bn: bool = True
    bn_final: bool = False
    lin_first: bool = False
    y_range: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        for name, count in (("n_out", self.n_out), ("n_in", self.n_in)):
            if not isinstance(count, int) or isinstance(count, bool) or count < 1:
                raise ConfigError(f"{name}={count!r}. Expected a whole number of at least 1.")

    def build(self, pretrained: bool = False, weights: Any = None, init: Init = nn.init.kaiming_normal_) -> VisionModel:
        """The model, on the CPU. With `pretrained`, its body has the pretrained weights; the head never has."""
        body = _body(self._ref(), pretrained, weights, self.n_in, self.cut)
        return VisionModel(body, self._make_head(body, init), spec=self)

    def to_json(self) -> dict[str, Any]:
        """A dict that `json.dumps` takes."""
        return {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()}

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> ArchSpec:
        """The spec that `to_json` wrote. Raises CheckpointError where it is none that can be built."""
        known = [field.name for field in fields(cls)]
        for key in found:
            if key not in known:
                raise CheckpointError(f"Unknown entry {key!r} in a saved architecture.{near(key, known)}")
        missing = [key for key in ("library", "name", "n_out") if key not in found]
        if missing:
            raise CheckpointError(f"A saved architecture lacks {missing}. Found {sorted(found)}.")
        values: dict[str, Any] = {key: tuple(v) if isinstance(v, list) else v for key, v in found.items()}
        try:
            spec = cls(**values)
            spec._ref()
        except ConfigError as error:
            raise CheckpointError(f"A saved architecture cannot be built: {error}") from None
        return spec

    def _ref(self) -> ArchRef:
        if self.library == "timm":
            return resolve_arch(self.name)
        if self.library == "torchvision" and is_torchvision(self.name):
            return ArchRef("torchvision", self.name)
        raise ConfigError(f"Unknown architecture {self.name!r} of {self.library!r}. Expected torchvision's or timm's.")

    def _make_head(self, body: nn.Module, init: Init) -> nn.Module:
        head = create_head(
            body_features(body, self.n_in),
            self.n_out,
            self.lin_ftrs,
            self.ps,
            self.pool,
            concat_pool=self.concat_pool,
            first_bn=self.first_bn,
            bn_final=self.bn_final,
            lin_first=self.lin_first,
            y_range=self.y_range,
            kind=self.head,
        )
        init_head(head, init)
        return head


@named_options
def create_vision_model(
    arch: Arch,
    n_out: int,
    pretrained: bool = True,
    *,
    weights: Any = None,
    cut: Cut | None = None,
    n_in: int = 3,
    init: Init = nn.init.kaiming_normal_,
    custom_head: nn.Module | None = None,
    head: HeadKind = "mlp",
    concat_pool: bool = True,
    pool: bool = True,
    lin_ftrs: Sequence[int] | None = None,
    ps: float | Sequence[float] = 0.5,
    first_bn: bool = True,
    bn_final: bool = False,
    lin_first: bool = False,
    y_range: tuple[float, float] | None = None,
) -> VisionModel:
    """`arch` without its classifier, with a new head for `n_out` outputs, on the CPU.

    `arch`: a function such as `resnet18` (torchvision's or fastlearn's), a timm name, or a function of your own that
    gives an nn.Module (asked for `pretrained=True`, if it is to be). `n_in` is the pictures' number of channels:
    `adapt_input` says how pretrained weights are fitted to it. `weights` picks others than the default ones or names a
    file. For the rest see `create_head`. Raises WeightsError if pretrained weights cannot be had.

    >>> create_vision_model("tf_efficientnet_lite0", 10)
    """
    if custom_head is not None and not isinstance(custom_head, nn.Module):
        raise ConfigError(f"custom_head is a torch module, not {found(custom_head)}. Type create_head(nf, n_out), say.")
    ref = resolve_arch(arch)
    spec = ArchSpec(
        library=ref.library,
        name=ref.name,
        n_out=n_out,
        n_in=n_in,
        cut=cut if isinstance(cut, int) else None,
        head=head,
        concat_pool=concat_pool,
        pool=pool,
        lin_ftrs=None if lin_ftrs is None else tuple(checked_list(lin_ftrs, "lin_ftrs", "layer widths")),
        ps=float(ps) if isinstance(ps, (int, float)) else tuple(checked_list(ps, "ps", DROPS)),
        first_bn=first_bn,
        bn_final=bn_final,
        lin_first=lin_first,
        y_range=None if y_range is None else check_bounds(y_range),
    )
    body = _body(ref, pretrained, weights, n_in, cut)
    by_name = ref.library != "callable" and not callable(cut) and custom_head is None
    made_head = spec._make_head(body, init) if custom_head is None else custom_head
    return VisionModel(body, made_head, spec=spec if by_name else None)


def vision_splitter(model: nn.Module) -> list[list[nn.Parameter]]:
    """The layer groups of a VisionModel, stem first: three for torchvision's older families, else body and head."""
    spec = getattr(model, "spec", None)
    return family_split(spec and spec.library, spec and spec.name)(model)


def _body(ref: ArchRef, pretrained: bool, weights: Any, n_in: int, cut: Cut | None) -> nn.Module:
    network = build_network(ref, pretrained, weights, n_in)
    if n_in != 3 and (pretrained or ref.library != "timm"):
        adapt_input(network, n_in, pretrained)
    if ref.library == "timm" and cut is None:  # timm leaves its classifier out by itself
        return network
    return create_body(network, cut)
