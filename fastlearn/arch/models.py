"""Architectures by name: functions that import torchvision when called, and models that can be rebuilt from JSON.

`resnet18` and its like are torchvision's: `weights` is an entry of torchvision's enum, its name or a file (None: random
weights), and `options` are torchvision's own, such as `num_classes`. Strings are timm's names. Imports no training
code, so that a saved model can be rebuilt where only it is needed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

from torch import Tensor, nn

from fastlearn.arch.body import Cut, adapt_input, body_features, create_body, family_split
from fastlearn.arch.head import HeadKind, create_head, init_head
from fastlearn.arch.weights import Arch, ArchRef, build_network, is_torchvision, resolve_arch
from fastlearn.errors import CheckpointError, ConfigError, near

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
        lin_ftrs=None if lin_ftrs is None else tuple(lin_ftrs),
        ps=float(ps) if isinstance(ps, (int, float)) else tuple(ps),
        first_bn=first_bn,
        bn_final=bn_final,
        lin_first=lin_first,
        y_range=None if y_range is None else _bounds(y_range),
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


def _bounds(y_range: Any) -> tuple[float, float]:
    if not isinstance(y_range, (tuple, list)) or len(y_range) != 2 or not y_range[0] < y_range[1]:
        raise ConfigError(f"y_range is (lowest, highest), such as (0, 5), found {y_range!r}.")
    return y_range[0], y_range[1]


def _torchvision(name: str, weights: Any, options: Mapping[str, Any]) -> nn.Module:
    return build_network(ArchRef("torchvision", name), weights is not None, weights, options=options)


def alexnet(weights: Any = None, **options: Any) -> nn.Module:
    """torchvision's AlexNet (Krizhevsky, 2014)."""
    return _torchvision("alexnet", weights, options)


def convnext_tiny(weights: Any = None, **options: Any) -> nn.Module:
    """torchvision's ConvNeXt-Tiny (Liu et al., 2022)."""
    return _torchvision("convnext_tiny", weights, options)


def convnext_small(weights: Any = None, **options: Any) -> nn.Module:
    """torchvision's ConvNeXt-Small (Liu et al., 2022)."""
    return _torchvision("convnext_small", weights, options)


def convnext_base(weights: Any = None, **options: Any) -> nn.Module:
    """torchvision's ConvNeXt-Base (Liu et al., 2022)."""
    return _torchvision("convnext_base", weights, options)


def densenet121(weights: Any = None, **options: Any) -> nn.Module:
    """torchvision's DenseNet-121 (Huang et al., 2017)."""
    return _torchvision("densenet121", weights, options)


def densenet161(weights: Any = None, **options: Any) -> nn.Module:
    """torchvision's DenseNet-161 (Huang et al., 2017)."""
    return _torchvision("densenet161", weights, options)


def densenet169(weights: Any = None, **options: Any) -> nn.Module:
    """torchvision's DenseNet-169 (Huang et al., 2017)."""
    return _torchvision("densenet169", weights, options)


def densenet201(weights: Any = None, **options: Any) -> nn.Module:
    """torchvision's DenseNet-201 (Huang et al., 2017)."""
    return _torchvision("densenet201", weights, options)


def efficientnet_b0(weights: Any = None, **options: Any) -> nn.Module:
    """torchvision's EfficientNet-B0 (Tan and Le, 2019)."""
    return _torchvision("efficientnet_b0", weights, options)


def efficientnet_b1(weights: Any = None, **options: Any) -> nn.Module:
    """torchvision's EfficientNet-B1 (Tan and Le, 2019)."""
    return _torchvision("efficientnet_b1", weights, options)


def efficientnet_b2(weights: Any = None, **options: Any) -> nn.Module:
    """torchvision's EfficientNet-B2 (Tan and Le, 2019)."""
    return _torchvision("efficientnet_b2", weights, options)


def efficientnet_b3(weights: Any = None, **options: Any) -> nn.Module:
    """torchvision's EfficientNet-B3 (Tan and Le, 2019)."""
    return _torchvision("efficientnet_b3", weights, options)


def efficientnet_b4(weights: Any = None, **options: Any) -> nn.Module:
    """torchvision's EfficientNet-B4 (Tan and Le, 2019)."""
    return _torchvision("efficientnet_b4", weights, options)


def efficientnet_v2_s(weights: Any = None, **options: Any) -> nn.Module:
    """torchvision's EfficientNetV2-S (Tan and Le, 2021)."""
    return _torchvision("efficientnet_v2_s", weights, options)


def mobilenet_v2(weights: Any = None, **options: Any) -> nn.Module:
    """torchvision's MobileNetV2 (Sandler et al., 2018)."""
    return _torchvision("mobilenet_v2", weights, options)


def mobilenet_v3_large(weights: Any = None, **options: Any) -> nn.Module:
    """torchvision's MobileNetV3-Large (Howard et al., 2019)."""
    return _torchvision("mobilenet_v3_large", weights, options)


def mobilenet_v3_small(weights: Any = None, **options: Any) -> nn.Module:
    """torchvision's MobileNetV3-Small (Howard et al., 2019)."""
    return _torchvision("mobilenet_v3_small", weights, options)


def regnet_y_400mf(weights: Any = None, **options: Any) -> nn.Module:
    """torchvision's RegNetY-400MF (Radosavovic et al., 2020)."""
    return _torchvision("regnet_y_400mf", weights, options)


def regnet_y_1_6gf(weights: Any = None, **options: Any) -> nn.Module:
    """torchvision's RegNetY-1.6GF (Radosavovic et al., 2020)."""
    return _torchvision("regnet_y_1_6gf", weights, options)


def resnet18(weights: Any = None, **options: Any) -> nn.Module:
    """torchvision's ResNet-18 (He et al., 2016)."""
    return _torchvision("resnet18", weights, options)


def resnet34(weights: Any = None, **options: Any) -> nn.Module:
    """torchvision's ResNet-34 (He et al., 2016)."""
    return _torchvision("resnet34", weights, options)


def resnet50(weights: Any = None, **options: Any) -> nn.Module:
    """torchvision's ResNet-50 (He et al., 2016)."""
    return _torchvision("resnet50", weights, options)


def resnet101(weights: Any = None, **options: Any) -> nn.Module:
    """torchvision's ResNet-101 (He et al., 2016)."""
    return _torchvision("resnet101", weights, options)


def resnet152(weights: Any = None, **options: Any) -> nn.Module:
    """torchvision's ResNet-152 (He et al., 2016)."""
    return _torchvision("resnet152", weights, options)


def resnext50_32x4d(weights: Any = None, **options: Any) -> nn.Module:
    """torchvision's ResNeXt-50 32x4d (Xie et al., 2017)."""
    return _torchvision("resnext50_32x4d", weights, options)


def resnext101_32x8d(weights: Any = None, **options: Any) -> nn.Module:
    """torchvision's ResNeXt-101 32x8d (Xie et al., 2017)."""
    return _torchvision("resnext101_32x8d", weights, options)


def shufflenet_v2_x1_0(weights: Any = None, **options: Any) -> nn.Module:
    """torchvision's ShuffleNetV2 1.0x (Ma et al., 2018)."""
    return _torchvision("shufflenet_v2_x1_0", weights, options)


def squeezenet1_0(weights: Any = None, **options: Any) -> nn.Module:
    """torchvision's SqueezeNet 1.0 (Iandola et al., 2016)."""
    return _torchvision("squeezenet1_0", weights, options)


def squeezenet1_1(weights: Any = None, **options: Any) -> nn.Module:
    """torchvision's SqueezeNet 1.1 (Iandola et al., 2016)."""
    return _torchvision("squeezenet1_1", weights, options)


def swin_t(weights: Any = None, **options: Any) -> nn.Module:
    """torchvision's Swin-T (Liu et al., 2021)."""
    return _torchvision("swin_t", weights, options)


def vgg11(weights: Any = None, **options: Any) -> nn.Module:
    """torchvision's VGG-11 (Simonyan and Zisserman, 2015)."""
    return _torchvision("vgg11", weights, options)


def vgg11_bn(weights: Any = None, **options: Any) -> nn.Module:
    """torchvision's VGG-11 with batch norm (Simonyan and Zisserman, 2015)."""
    return _torchvision("vgg11_bn", weights, options)


def vgg13(weights: Any = None, **options: Any) -> nn.Module:
    """torchvision's VGG-13 (Simonyan and Zisserman, 2015)."""
    return _torchvision("vgg13", weights, options)


def vgg13_bn(weights: Any = None, **options: Any) -> nn.Module:
    """torchvision's VGG-13 with batch norm (Simonyan and Zisserman, 2015)."""
    return _torchvision("vgg13_bn", weights, options)


def vgg16(weights: Any = None, **options: Any) -> nn.Module:
    """torchvision's VGG-16 (Simonyan and Zisserman, 2015)."""
    return _torchvision("vgg16", weights, options)


def vgg16_bn(weights: Any = None, **options: Any) -> nn.Module:
    """torchvision's VGG-16 with batch norm (Simonyan and Zisserman, 2015)."""
    return _torchvision("vgg16_bn", weights, options)


def vgg19(weights: Any = None, **options: Any) -> nn.Module:
    """torchvision's VGG-19 (Simonyan and Zisserman, 2015)."""
    return _torchvision("vgg19", weights, options)


def vgg19_bn(weights: Any = None, **options: Any) -> nn.Module:
    """torchvision's VGG-19 with batch norm (Simonyan and Zisserman, 2015)."""
    return _torchvision("vgg19_bn", weights, options)


def wide_resnet50_2(weights: Any = None, **options: Any) -> nn.Module:
    """torchvision's Wide ResNet-50-2 (Zagoruyko and Komodakis, 2016)."""
    return _torchvision("wide_resnet50_2", weights, options)


def wide_resnet101_2(weights: Any = None, **options: Any) -> nn.Module:
    """torchvision's Wide ResNet-101-2 (Zagoruyko and Komodakis, 2016)."""
    return _torchvision("wide_resnet101_2", weights, options)
