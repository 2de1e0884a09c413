"""Ways to compute the two window products of a convolution, one per file, and the choice between them.

`product(x, kernel, …)` is y = x ⊗ w; `kernel_gradient(x, dy, …)` is dw = x ⊗ dy. The input's gradient is a `product`
again, of the spread cotangent with the rotated kernel, so it needs no algorithm of its own.
"""

from jaxcnn.ops.algorithms.choice import NAMES, choose, refuse_unfit

__all__ = ["NAMES", "choose", "refuse_unfit"]
