"""EfficientNet-Lite2 without its classifier, as a short network with the published weights' names.

Inverted bottlenecks with ReLU6 and without squeeze-and-excitation (Tan and Le, 2019; the Lite variant of 2020).
It knows shapes only: weights and pictures come from encoder.py.

Shapes: B = batch, C = channels, H, W = height and width.
"""

from collections import OrderedDict

from torch import Tensor, nn
from torch.nn import functional as F

SIDE = 260  # the input's height and width that Lite2 was trained with
WIDTH = 1280  # channels of the last feature map, which is 9 by 9

# (blocks, kernel, stride of the first, expansion, channels out): EfficientNet-B0 at width 1.1 and depth 1.2
STAGES = (
    (1, 3, 1, 1, 16),
    (3, 3, 2, 6, 24),
    (3, 5, 2, 6, 48),
    (4, 3, 2, 6, 88),
    (4, 5, 1, 6, 120),
    (5, 5, 2, 6, 208),
    (1, 3, 1, 6, 352),
)
STEM = 32


class SameConv(nn.Conv2d):
    """A convolution padded as TensorFlow does: the odd pixel goes to the right and below."""

    def forward(self, input: Tensor) -> Tensor:  # (B, C, H, W)
        def pad(size: int, kernel: int, stride: int) -> tuple[int, int]:
            total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
            return total // 2, total - total // 2

        height, width = input.shape[-2:]
        sides = (*pad(width, self.kernel_size[1], self.stride[1]), *pad(height, self.kernel_size[0], self.stride[0]))
        return super().forward(F.pad(input, sides) if any(sides) else input)


class Block(nn.Module):
    """Expand, filter each channel by itself, project; add the input where the shapes agree."""

    def __init__(self, inner: int, outer: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        middle = inner * expansion
        self.residual = stride == 1 and inner == outer
        layers: OrderedDict[str, nn.Module] = OrderedDict()
        if expansion != 1:
            layers["_expand_conv"] = SameConv(inner, middle, 1, bias=False)
            layers["_bn0"] = nn.BatchNorm2d(middle, eps=1e-3)
            layers["relu0"] = nn.ReLU6()
        layers["_depthwise_conv"] = SameConv(middle, middle, kernel, stride, groups=middle, bias=False)
        layers["_bn1"] = nn.BatchNorm2d(middle, eps=1e-3)
        layers["relu1"] = nn.ReLU6()
        layers["_project_conv"] = SameConv(middle, outer, 1, bias=False)
        layers["_bn2"] = nn.BatchNorm2d(outer, eps=1e-3)
        self.layers = nn.Sequential(layers)

    def forward(self, x: Tensor) -> Tensor:  # (B, C, H, W)
        y: Tensor = self.layers(x)
        return x + y if self.residual else y


class EfficientNetLite2(nn.Module):
    """Normalised pictures (B, 3, 260, 260) -> feature maps (B, 1280, 9, 9)."""

    def __init__(self) -> None:
        super().__init__()
        blocks: list[Block] = []
        inner = STEM
        for count, kernel, stride, expansion, outer in STAGES:
            for index in range(count):
                blocks.append(Block(inner, outer, kernel, stride if index == 0 else 1, expansion))
                inner = outer
        self._conv_stem = SameConv(3, STEM, 3, 2, bias=False)
        self._bn0 = nn.BatchNorm2d(STEM, eps=1e-3)
        self._blocks = nn.Sequential(*blocks)
        self._conv_head = SameConv(inner, WIDTH, 1, bias=False)
        self._bn1 = nn.BatchNorm2d(WIDTH, eps=1e-3)

    def forward(self, x: Tensor) -> Tensor:  # (B, 3, H, W)
        x = F.relu6(self._bn0(self._conv_stem(x)))
        x = self._blocks(x)
        return F.relu6(self._bn1(self._conv_head(x)))  # (B, 1280, H / 29, W / 29)
