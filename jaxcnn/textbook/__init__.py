"""The operations as a lecture defines them, each with its derivative beside it: read this room first.

A convolutional network needs one idea, a small window that slides over an image, and a derivative rule for each
operation on the pixels of the window (⊗ slides a filter without flipping it; dy is the gradient of the loss with
respect to y):

    convolution       y = x ⊗ w                   dw = x ⊗ dy          dx = dy ⊗ rot180(w), full
    max pooling       y = max of the window       dx = dy at the first maximum of the window, 0 elsewhere
    average pooling   y = Σ x / m                 dx = dy / m at each of the window's m pixels
    L2 pooling        y = √(Σ x²)                 dx = x / y · dy
    dense             y = x w + b                 dw = xᵀ dy           dx = dy wᵀ           db = Σ dy
    ReLU              y = max(x, 0)               dx = dy where x > 0, 0 elsewhere
    softmax           p = e^z / Σ e^z             dz = p · (dp − Σ p dp)
    cross entropy     −(1/n) Σ l log p            dz = (p − l) / n

Slow on purpose: `jaxcnn.ops` has the same numbers fast, and the tests hold the two equal. Images are channels-last,
(..., H, W, C); the axes before H are a batch. `jit`, `vmap` and `grad` work; for `jvp` and `hessian` take `jaxcnn.ops`.
"""

from jaxcnn.textbook.convolution import conv2d
from jaxcnn.textbook.network import cross_entropy, dense, flatten, log_loss, relu, sigmoid, softmax
from jaxcnn.textbook.pooling import avg_pool2d, l2_pool2d, max_pool2d
from jaxcnn.textbook.sliding import put_back, windows

__all__ = [
    "avg_pool2d",
    "conv2d",
    "cross_entropy",
    "dense",
    "flatten",
    "l2_pool2d",
    "log_loss",
    "max_pool2d",
    "put_back",
    "relu",
    "sigmoid",
    "softmax",
    "windows",
]
