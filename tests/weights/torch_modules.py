"""Networks in PyTorch with torchvision's names, written from their papers and tables for the parity tests."""

import pytest

torch = pytest.importorskip("torch", reason="the extra `parity` is not installed")
nn = torch.nn


class Chain(nn.Module):
    """features, pool, classifier: AlexNet and VGG."""

    def __init__(self, features, side, classifier):
        super().__init__()
        self.features, self.avgpool, self.classifier = features, nn.AdaptiveAvgPool2d(side), classifier

    def forward(self, x):
        return self.classifier(torch.flatten(self.avgpool(self.features(x)), 1))


def alexnet(classes):
    features = nn.Sequential(
        *(nn.Conv2d(3, 64, 11, 4, 2), nn.ReLU(), nn.MaxPool2d(3, 2)),
        *(nn.Conv2d(64, 192, 5, padding=2), nn.ReLU(), nn.MaxPool2d(3, 2)),
        *(nn.Conv2d(192, 384, 3, padding=1), nn.ReLU()),
        *(nn.Conv2d(384, 256, 3, padding=1), nn.ReLU()),
        *(nn.Conv2d(256, 256, 3, padding=1), nn.ReLU(), nn.MaxPool2d(3, 2)),
    )
    classifier = nn.Sequential(
        *(nn.Dropout(), nn.Linear(256 * 6 * 6, 4096), nn.ReLU()),
        *(nn.Dropout(), nn.Linear(4096, 4096), nn.ReLU()),
        nn.Linear(4096, classes),
    )
    return Chain(features, 6, classifier)


class Features(nn.Module):
    """VGG without its classifier."""

    def __init__(self, convolutions, batch_norm):
        super().__init__()
        layers, before = [], 3
        for width, count in zip((64, 128, 256, 512, 512), convolutions, strict=True):
            for _ in range(count):
                layers += [nn.Conv2d(before, width, 3, padding=1), *[nn.BatchNorm2d(width)] * batch_norm, nn.ReLU()]
                before = width
            layers.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*layers)

    def forward(self, x):
        return self.features(x)


# ---------------------------------------------------------------------------------------------------------- residual


class Block(nn.Module):
    """Two 3×3 convolutions, or 1×1, 3×3, 1×1."""

    def __init__(self, before, width, stride, bottleneck=False, zero_padded=False):
        super().__init__()
        out = 4 * width if bottleneck else width
        shapes = [(before, width, 1, 1), (width, width, 3, stride), (width, out, 1, 1)]
        shapes = shapes if bottleneck else [(before, width, 3, stride), (width, width, 3, 1)]
        self.count = len(shapes)
        for k, (a, b, size, s) in enumerate(shapes, start=1):
            self.add_module(f"conv{k}", nn.Conv2d(a, b, size, s, size // 2, bias=False))
            self.add_module(f"bn{k}", nn.BatchNorm2d(b))
        self.new = width - before if zero_padded and stride > 1 else 0
        if not zero_padded and (stride > 1 or before != out):
            self.downsample = nn.Sequential(nn.Conv2d(before, out, 1, stride, bias=False), nn.BatchNorm2d(out))

    def forward(self, x):
        y = x
        for k in range(1, self.count + 1):
            y = getattr(self, f"bn{k}")(getattr(self, f"conv{k}")(y))
            y = torch.relu(y) if k < self.count else y
        if hasattr(self, "downsample"):
            x = self.downsample(x)
        elif self.new:
            x = nn.functional.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, self.new // 2, self.new // 2))
        return torch.relu(x + y)


class ResNet(nn.Module):
    """torchvision's, with a pool after the first convolution; and that for CIFAR."""

    def __init__(self, blocks, widths, classes, bottleneck=False, cifar=False):
        super().__init__()
        before = widths[0]
        self.conv1 = nn.Conv2d(3, before, 3 if cifar else 7, 1 if cifar else 2, 1 if cifar else 3, bias=False)
        self.bn1 = nn.BatchNorm2d(before)
        self.maxpool = nn.Identity() if cifar else nn.MaxPool2d(3, 2, 1)
        self.stages = len(blocks)
        for i, (count, width) in enumerate(zip(blocks, widths, strict=True), start=1):
            stage = []
            for j in range(count):
                stage.append(Block(before, width, 2 if i > 1 and j == 0 else 1, bottleneck, cifar))
                before = 4 * width if bottleneck else width
            self.add_module(f"layer{i}", nn.Sequential(*stage))
        self.last = "linear" if cifar else "fc"
        self.add_module(self.last, nn.Linear(before, classes))

    def forward(self, x):
        x = self.maxpool(torch.relu(self.bn1(self.conv1(x))))
        for i in range(1, self.stages + 1):
            x = getattr(self, f"layer{i}")(x)
        return getattr(self, self.last)(x.mean((2, 3)))


def resnet18(classes):
    return ResNet((2, 2, 2, 2), (64, 128, 256, 512), classes)


def resnet50(classes):
    return ResNet((3, 4, 6, 3), (64, 128, 256, 512), classes, bottleneck=True)


def resnet20(classes):
    return ResNet((3, 3, 3), (16, 32, 64), classes, cifar=True)


# --------------------------------------------------------------------------------------------------------- GoogLeNet


class Unit(nn.Module):
    def __init__(self, before, width, size=1, stride=1):
        super().__init__()
        self.conv = nn.Conv2d(before, width, size, stride, size // 2, bias=False)
        self.bn = nn.BatchNorm2d(width, eps=1e-3)

    def forward(self, x):
        return torch.relu(self.bn(self.conv(x)))


class Inception(nn.Module):
    def __init__(self, before, one, before3, three, before5, five, pool):
        super().__init__()
        self.branch1 = Unit(before, one)
        self.branch2 = nn.Sequential(Unit(before, before3), Unit(before3, three, 3))
        self.branch3 = nn.Sequential(Unit(before, before5), Unit(before5, five, 3))
        self.branch4 = nn.Sequential(nn.MaxPool2d(3, 1, 1), Unit(before, pool))

    def forward(self, x):
        return torch.cat([self.branch1(x), self.branch2(x), self.branch3(x), self.branch4(x)], 1)


class Auxiliary(nn.Module):
    def __init__(self, before, classes):
        super().__init__()
        self.conv, self.fc1, self.fc2 = Unit(before, 128), nn.Linear(2048, 1024), nn.Linear(1024, classes)

    def forward(self, x):
        x = self.conv(nn.functional.adaptive_avg_pool2d(x, 4))
        return self.fc2(torch.relu(self.fc1(torch.flatten(x, 1))))


class GoogLeNet(nn.Module):
    """`forward` gives the logits and those of the two auxiliary classifiers."""

    def __init__(self, classes):
        super().__init__()
        self.conv1, self.conv2, self.conv3 = Unit(3, 64, 7, 2), Unit(64, 64), Unit(64, 192, 3)
        self.inception3a = Inception(192, 64, 96, 128, 16, 32, 32)
        self.inception3b = Inception(256, 128, 128, 192, 32, 96, 64)
        self.inception4a = Inception(480, 192, 96, 208, 16, 48, 64)
        self.inception4b = Inception(512, 160, 112, 224, 24, 64, 64)
        self.inception4c = Inception(512, 128, 128, 256, 24, 64, 64)
        self.inception4d = Inception(512, 112, 144, 288, 32, 64, 64)
        self.inception4e = Inception(528, 256, 160, 320, 32, 128, 128)
        self.inception5a = Inception(832, 256, 160, 320, 32, 128, 128)
        self.inception5b = Inception(832, 384, 192, 384, 48, 128, 128)
        self.aux1, self.aux2 = Auxiliary(512, classes), Auxiliary(528, classes)
        self.fc = nn.Linear(1024, classes)

    def forward(self, x):
        half = nn.MaxPool2d(3, 2, ceil_mode=True)
        x = half(self.conv3(self.conv2(half(self.conv1(x)))))
        x = self.inception4a(half(self.inception3b(self.inception3a(x))))
        first = self.aux1(x)
        x = self.inception4d(self.inception4c(self.inception4b(x)))
        second = self.aux2(x)
        x = nn.functional.max_pool2d(self.inception4e(x), 2, 2, ceil_mode=True)
        x = self.inception5b(self.inception5a(x))
        return self.fc(x.mean((2, 3))), first, second


# ------------------------------------------------------------------------------------------- SqueezeNet, MobileNetV2


class Fire(nn.Module):
    def __init__(self, before, squeeze, expand):
        super().__init__()
        self.squeeze = nn.Conv2d(before, squeeze, 1)
        self.expand1x1 = nn.Conv2d(squeeze, expand, 1)
        self.expand3x3 = nn.Conv2d(squeeze, expand, 3, padding=1)

    def forward(self, x):
        x = torch.relu(self.squeeze(x))
        return torch.relu(torch.cat([self.expand1x1(x), self.expand3x3(x)], 1))


class SqueezeNet(nn.Module):
    def __init__(self, classes):
        super().__init__()

        def pool():
            return nn.MaxPool2d(3, 2, ceil_mode=True)

        self.features = nn.Sequential(
            *(nn.Conv2d(3, 64, 3, 2), nn.ReLU(), pool()),
            *(Fire(64, 16, 64), Fire(128, 16, 64), pool()),
            *(Fire(128, 32, 128), Fire(256, 32, 128), pool()),
            *(Fire(256, 48, 192), Fire(384, 48, 192), Fire(384, 64, 256), Fire(512, 64, 256)),
        )
        self.classifier = nn.Sequential(nn.Dropout(), nn.Conv2d(512, classes, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1))

    def forward(self, x):
        return torch.flatten(self.classifier(self.features(x)), 1)


def conv_norm(before, width, size=1, stride=1, groups=1):
    conv = nn.Conv2d(before, width, size, stride, size // 2, groups=groups, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(width), nn.ReLU6())


class Inverted(nn.Module):
    def __init__(self, before, width, stride, expansion):
        super().__init__()
        wide = before * expansion
        self.conv = nn.Sequential(
            *([conv_norm(before, wide)] if expansion > 1 else []),
            conv_norm(wide, wide, 3, stride, wide),
            nn.Conv2d(wide, width, 1, bias=False),
            nn.BatchNorm2d(width),
        )
        self.straight = stride == 1 and before == width

    def forward(self, x):
        return x + self.conv(x) if self.straight else self.conv(x)


class MobileNetV2(nn.Module):
    """Of width 1."""

    def __init__(self, classes):
        super().__init__()
        layers, before = [conv_norm(3, 32, 3, 2)], 32
        table = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2))
        for expansion, width, count, stride in (*table, (6, 320, 1, 1)):
            for j in range(count):
                layers.append(Inverted(before, width, stride if j == 0 else 1, expansion))
                before = width
        self.features = nn.Sequential(*layers, conv_norm(320, 1280))
        self.classifier = nn.Sequential(nn.Dropout(), nn.Linear(1280, classes))

    def forward(self, x):
        return self.classifier(self.features(x).mean((2, 3)))
