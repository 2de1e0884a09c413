"""Nothing of XLA's convolution or window reduction: not in the source, the jaxpr, the StableHLO or the compiled HLO."""

import ast
import functools
import pathlib
import re

import jax
import jax.numpy as jnp
import pytest
from ops_table import CASES

import jaxcnn
from jaxcnn import ops

PRIMITIVES = re.compile(r"^conv_general_dilated|^reduce_window|^select_and_")
STABLEHLO = re.compile(r"stablehlo\.(convolution|dynamic_conv|reduce_window|select_and_scatter)\b")
HLO = re.compile(r"\b(convolution|reduce-window|select-and-scatter)(-start|-done)?\(|__onednn\$conv|custom-call.*conv")

# The table's shapes are small; XLA rewrites some sums (into reduce-window, say) by their length. So real sizes too.
# A depthwise kernel's gradient, written as a matrix product, was compiled to reduce-window at "depthwise, small".
REAL = {
    "conv, first layer": (functools.partial(ops.conv, padding="SAME"), (4, 32, 32, 3), (3, 3, 3, 16)),
    "conv, in tiles": (functools.partial(ops.conv, padding="SAME"), (8, 32, 32, 32), (3, 3, 32, 32)),
    "conv, grouped": (functools.partial(ops.conv, groups=4, stride=2), (2, 16, 16, 16), (3, 3, 4, 16)),
    "conv, many weights": (functools.partial(ops.conv, padding="SAME"), (2, 7, 7, 128), (3, 3, 128, 128)),
    "conv, large window": (functools.partial(ops.conv, padding="SAME"), (8, 40, 40, 8), (21, 21, 8, 8)),
    "conv, one channel": (ops.conv, (2, 28, 28, 1), (5, 5, 1, 4)),
    "depthwise, small": (functools.partial(ops.conv, padding="SAME", groups=3), (2, 8, 8, 3), (3, 3, 1, 3)),
    "depthwise": (functools.partial(ops.conv, padding="SAME", groups=32), (4, 28, 28, 32), (3, 3, 1, 32)),
    "depthwise with multiplier": (functools.partial(ops.conv, groups=8), (4, 16, 16, 8), (3, 3, 1, 16)),
    "1×1": (ops.conv, (4, 16, 16, 32), (1, 1, 32, 16)),
    "1×1, one channel": (ops.conv, (4, 32, 32, 1), (1, 1, 1, 1)),
    "conv_transpose": (functools.partial(ops.conv_transpose, stride=2), (2, 16, 16, 8), (2, 2, 4, 8)),
    "max_pool": (functools.partial(ops.max_pool, window=3, stride=2, padding=1), (4, 32, 32, 16)),
    "avg_pool": (functools.partial(ops.avg_pool, window=7, stride=1), (4, 32, 32, 16)),
    "lp_pool": (functools.partial(ops.lp_pool, window=2), (4, 32, 32, 16)),
    "max_pool, whole map": (functools.partial(ops.max_pool, window=28), (4, 28, 28, 16)),
    "max_pool, time": (functools.partial(ops.max_pool, window=(200,), stride=1), (2, 1000, 4)),
    "avg_pool, time": (functools.partial(ops.avg_pool, window=(200,), stride=3), (2, 1000, 4)),
    "lp_pool, whole map": (functools.partial(ops.lp_pool, window=28), (4, 28, 28, 16)),
    "lp_pool, overlapping": (functools.partial(ops.lp_pool, window=7, stride=3, p=3), (4, 32, 32, 16)),
    "global_max_pool": (ops.global_max_pool, (4, 64, 64, 3)),
    "global_avg_pool": (ops.global_avg_pool, (4, 64, 64, 3)),
    "global_avg_pool, one channel": (ops.global_avg_pool, (1, 224, 224, 1)),
}
PROGRAMS = {case.name: (case.function, *case.shapes) for case in CASES} | REAL


def primitives(jaxpr):
    """The names of all primitives, in sub-jaxprs too."""
    for equation in jaxpr.eqns:
        yield equation.primitive.name
        for value in jax.tree.leaves(tuple(equation.params.values()), is_leaf=is_jaxpr):
            if is_jaxpr(value):
                yield from primitives(getattr(value, "jaxpr", value))


def is_jaxpr(value):
    return hasattr(value, "eqns") or hasattr(getattr(value, "jaxpr", None), "eqns")


def findings(program, *arguments):
    """What the three patterns find in a program's jaxpr, StableHLO and optimized HLO."""
    traced = jax.jit(program).trace(*arguments)
    lowered = traced.lower()
    return (
        {name for name in primitives(traced.jaxpr.jaxpr) if PRIMITIVES.search(name)},
        {match.group() for match in STABLEHLO.finditer(lowered.as_text())},
        {match.group() for match in HLO.finditer(lowered.compile().as_text())},
    )


def forward_and_backward(function, *shapes):
    """The op and its pullback of a given cotangent. Not of a scalar loss: XLA:CPU itself writes a plain sum of more
    than 32 numbers as a reduce-window, which is none of ours."""
    arguments = [jnp.ones(shape) for shape in shapes]

    def program(ct, *arguments):
        y, pull = jax.vjp(function, *arguments)
        return y, pull(ct)

    return program, (jnp.ones_like(function(*arguments)), *arguments)


@pytest.mark.parametrize("name", PROGRAMS)
def test_program_has_none(name):
    program, arguments = forward_and_backward(*PROGRAMS[name])
    jaxpr, stablehlo, hlo = findings(program, *arguments)
    if jax.__version_info__ < (0, 10) and name.startswith(("global_avg_pool", "conv, in tiles")):
        # XLA's own rewriting, on the CPU, of a plain mean, and of whether any value is not finite; the program we hand
        # it has none.
        hlo -= {"reduce-window("}
    assert (jaxpr, stablehlo, hlo) == (set(), set(), set())


def test_the_search_finds_what_it_looks_for():
    """The same search over XLA's own operations, one of them inside a loop; else the test above would show nothing."""

    def conv(x, w):
        def body(_, x):
            return jax.lax.conv_general_dilated(x, w, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))

        return jax.lax.fori_loop(0, 2, body, x)

    in_jaxpr, in_stablehlo, in_hlo = findings(*_with(conv, (1, 8, 8, 3), (3, 3, 3, 3)))
    assert "conv_general_dilated" in in_jaxpr
    assert "stablehlo.convolution" in in_stablehlo
    assert "convolution(" in in_hlo

    def pool(x):
        return jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, (1, 3, 3, 1), (1, 2, 2, 1), "VALID")

    in_jaxpr, in_stablehlo, in_hlo = findings(*_with(pool, (1, 9, 9, 2)))
    assert any(name.startswith("reduce_window") for name in in_jaxpr)
    assert any(name.startswith("select_and_") for name in in_jaxpr)
    assert "stablehlo.reduce_window" in in_stablehlo
    assert "reduce-window(" in in_hlo


def _with(function, *shapes):
    program, arguments = forward_and_backward(function, *shapes)
    return program, *arguments


FORBIDDEN_NAME = re.compile(
    r"^(conv_general_dilated|conv_with_general_padding|conv_transpose|conv|reduce_window|"
    r"select_and_scatter|select_and_gather|convolve|avg_pool|max_pool)"
)
FOREIGN = ("jax", "lax", "jnp", "nn", "linen", "nnx", "jsp", "scipy", "signal")


def names(source):
    """The dotted names in code that start at a module of JAX, and what is imported from one; no comments or strings."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in ("jax", "flax", "scipy"):
            yield from ((node.module, alias.name) for alias in node.names)
        elif isinstance(node, ast.Attribute):
            yield ast.unparse(node.value), node.attr


def offences(source):
    return [
        f"{owner}.{name}"
        for owner, name in names(source)
        if FORBIDDEN_NAME.match(name) and owner.split(".")[0] in (*FOREIGN, "flax")
    ]


def test_source_names_none():
    files = sorted(pathlib.Path(jaxcnn.__file__).parent.rglob("*.py"))
    assert len(files) >= 10
    assert {str(f): found for f in files if (found := offences(f.read_text(encoding="utf-8")))} == {}


@pytest.mark.parametrize(
    "source",
    [
        "from jax import lax\ny = lax.conv(x, w, (1, 1), 'SAME')",
        "from jax.lax import conv_general_dilated as c",
        "import jax\njax.lax.reduce_window_p.bind(x)",
        "import jax.numpy as jnp\njnp.convolve(a, b)",
    ],
)
def test_the_source_search_finds_what_it_looks_for(source):
    assert offences(source)
    assert not offences(f'"""{source}"""')
