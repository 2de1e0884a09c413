"""Networks of jaxcnn's catalogue in PyTorch, from their papers, for timing."""

import torch
from torch import nn
from torch.nn import functional as F


class Residual(nn.Module):
    """body(x) + shortcut(x), then ReLU."""

    def __init__(self, body: nn.Module, shortcut: nn.Module) -> None:
        super().__init__()
        self.body, self.shortcut = body, shortcut

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The sum's positive part."""
        return F.relu(self.body(x) + self.shortcut(x))


class Subsample(nn.Module):
    """Every second position, with channels of zeros on both sides: the shortcut without parameters."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Half the size, twice the channels."""
        return F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, x.shape[1] // 2, x.shape[1] // 2))


class Fire(nn.Module):
    """1×1 to few channels, then 1×1 and 3×3 side by side."""

    def __init__(self, before: int, few: int, each: int) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(before, few, 1)
        self.left, self.right = nn.Conv2d(few, each, 1), nn.Conv2d(few, each, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """2 · each channels."""
        x = F.relu(self.squeeze(x))
        return torch.cat([F.relu(self.left(x)), F.relu(self.right(x))], 1)


def _normalized(before: int, after: int, size: int, stride: int = 1, relu: bool = True) -> list[nn.Module]:
    conv = nn.Conv2d(before, after, size, stride, size // 2, bias=False)
    return [conv, nn.BatchNorm2d(after), *[nn.ReLU()] * relu]


def _resnet20() -> nn.Module:
    layers, before = _normalized(3, 16, 3), 16
    for width in (16, 32, 64):
        for _ in range(3):
            stride = 1 if before == width else 2
            body = [*_normalized(before, width, 3, stride), *_normalized(width, width, 3, relu=False)]
            layers.append(Residual(nn.Sequential(*body), nn.Identity() if stride == 1 else Subsample()))
            before = width
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10))


def _resnet50() -> nn.Module:
    layers, before = [*_normalized(3, 64, 7, 2), nn.MaxPool2d(3, 2, 1)], 64
    for width, count in ((64, 3), (128, 4), (256, 6), (512, 3)):
        for k in range(count):
            stride = 2 if k == 0 and width > 64 else 1
            body = _normalized(before, width, 1) + _normalized(width, width, 3, stride)
            body += _normalized(width, 4 * width, 1, relu=False)
            other = nn.Identity() if k else nn.Sequential(*_normalized(before, 4 * width, 1, stride, relu=False))
            layers.append(Residual(nn.Sequential(*body), other))
            before = 4 * width
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2048, 1000))


def _squeezenet1_1() -> nn.Module:
    layers: list[nn.Module] = [nn.Conv2d(3, 64, 3, 2), nn.ReLU()]
    before = 64
    for few, each, pooled in (
        *((16, 64, True), (16, 64, False), (32, 128, True), (32, 128, False)),
        *((48, 192, True), (48, 192, False), (64, 256, False), (64, 256, False)),
    ):
        layers += [*[nn.MaxPool2d(3, 2, ceil_mode=True)] * pooled, Fire(before, few, each)]
        before = 2 * each
    return nn.Sequential(*layers, nn.Conv2d(before, 1000, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())


NAMED = {"resnet20": _resnet20, "resnet50": _resnet50, "squeezenet1_1": _squeezenet1_1}
