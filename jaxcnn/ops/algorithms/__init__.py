"""Algorithms for the two window products of a convolution, one per file, and the choice between them.

Each file ends in an `Algorithm`, a value that says what it can compute, how, and at what cost. `choice.py` has the
rules that choose one.
"""

from jaxcnn.ops.algorithms.algorithm import Algorithm
from jaxcnn.ops.algorithms.choice import ALGORITHMS, NAMES, Choice, Rule, check_claim, choose, choose_whole
from jaxcnn.ops.algorithms.layouts import ARRANGED, AS_GIVEN, Layout
from jaxcnn.ops.algorithms.product import Product

__all__ = [
    "ALGORITHMS",
    "ARRANGED",
    "AS_GIVEN",
    "NAMES",
    "Algorithm",
    "Choice",
    "Layout",
    "Product",
    "Rule",
    "check_claim",
    "choose",
    "choose_whole",
]
