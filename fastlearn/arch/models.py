"""torchvision's architectures as functions that import it when called.

`weights` is an entry of torchvision's enum, its name or a file (None: random weights), and `options` are torchvision's
own, such as `num_classes`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

from fastlearn.arch.weights import ArchRef, build_network


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
