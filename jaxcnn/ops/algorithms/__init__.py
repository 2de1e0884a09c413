"""Ways to compute the two window products of a convolution, one per file, and the choice between them.

`product(x, w, p)` is y = x ⊗ w; `kernel_gradient(x, dy, p)` is dw = x ⊗ dy, on arrays arranged as `product.py` says.
The input's gradient is a product again, of the spread cotangent with the rotated kernel.
"""

from jaxcnn.ops.algorithms import depthwise, phases
from jaxcnn.ops.algorithms.choice import NAMES, choose, choose_gradient, refuse_unfit
from jaxcnn.ops.algorithms.product import Product, arrange_kernel, restore_kernel

__all__ = [
    "NAMES",
    "Product",
    "arrange_kernel",
    "choose",
    "choose_gradient",
    "depthwise",
    "phases",
    "refuse_unfit",
    "restore_kernel",
]
