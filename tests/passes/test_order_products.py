"""Products in the cheapest order, and layers on the cheaper side of them; nothing else changes."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import mobile_export
from mobile_export.passes import PASSES
from mobile_export.passes.fold_constants import fold_constants
from mobile_export.passes.order_products import order_products
from tests.passes.graphs import apply, multiplications, ops, program_of, reasons


class Net(nn.Module):
    """A function of the input and of some layers."""

    def __init__(self, function: Callable[[Net, Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function
        self.q, self.k, self.v = (nn.Linear(8, 8) for _ in range(3))
        self.wide, self.narrow = nn.Linear(8, 32), nn.Linear(8, 2)
        self.heads = nn.Conv2d(8, 32, 1, groups=2)
        self.few_heads = nn.Conv2d(8, 4, 1, groups=2)
        self.mixed = nn.Conv2d(8, 32, 1)
        self.pool = nn.AvgPool1d(4)
        self.gain = nn.Parameter(torch.linspace(0.5, 1.5, 2).reshape(2, 1, 1))
        self.rows = nn.Parameter(torch.linspace(0.5, 1.5, 24).reshape(24, 1))
        self.down, self.up = nn.Parameter(torch.randn(8, 16)), nn.Parameter(torch.randn(16, 4))
        self.table = nn.Parameter(torch.randn(24, 24))

    def forward(self, x: Tensor) -> Tensor:
        return self.function(self, x)

    def attention(self, x: Tensor) -> Tensor:
        """(…, 24, 24) of tokens (…, 24, 8)."""
        return (self.q(x) @ self.k(x).transpose(-2, -1)).softmax(-1)


TOKENS = (1, 24, 8)
IMAGE = (1, 8, 4, 6)


def _heads(x: Tensor) -> Tensor:
    """Tokens (1, 24, 8) as two heads (1, 2, 24, 4)."""
    return x.reshape(1, 24, 2, 4).transpose(1, 2)


def _linear_attention(m: Net, x: Tensor) -> Tensor:
    q, k, v = (_heads(layer(x)).relu() for layer in (m.q, m.k, m.v))
    return (q @ k.transpose(-2, -1)) @ v


def _scaled(m: Net, x: Tensor) -> Tensor:
    q, k, v = (_heads(layer(x)).relu() for layer in (m.q, m.k, m.v))
    return (
        ((q @ k.transpose(-2, -1)) * m.gain / 24).reshape(2, 24, 24) @ v.reshape(2, 24, 4)
    ).exp()


def _scaled_rows(m: Net, x: Tensor) -> Tensor:
    q, k = m.q(x).relu(), m.k(x).relu()
    return (((q @ k.transpose(-2, -1)) * m.rows) @ k).exp()


def _dot_product_block(m: Net, x: Tensor) -> Tensor:
    """Non-local means with dot products (arXiv 1711.07971, equation 4)."""
    theta = x.relu().flatten(2).transpose(1, 2)
    pairs = torch.bmm(theta, x.sigmoid().flatten(2)) / 24
    return torch.bmm(pairs, x.tanh().flatten(2).transpose(1, 2)).transpose(1, 2).reshape(x.shape)


def _transposed(m: Net, x: Tensor) -> Tensor:
    q, k, v = x.relu(), x.sigmoid(), x.tanh()
    pairs = (k @ q.transpose(1, 2)).transpose(1, 2)
    return (v.transpose(1, 2) @ pairs).exp()


def _few_tokens(m: Net, x: Tensor) -> Tensor:
    """Two queries, three keys, eight channels: here k v is what costs."""
    q, k, v = x[:, :2].relu(), x[:, 2:5].sigmoid(), x[:, 5:8].tanh()
    return q @ (k.transpose(1, 2) @ v)


def _stored_matrices(m: Net, x: Tensor) -> Tensor:
    return (x.relu() @ m.down[None]) @ m.up[None]


def _four(m: Net, x: Tensor) -> Tensor:
    a, b = x.relu(), x.sigmoid().transpose(1, 2)
    return ((a @ b) @ a.tanh()) @ b.exp()


CHEAPER: dict[str, tuple[Callable[[Net, Tensor], Tensor], tuple[int, ...], int]] = {
    "linear attention": (_linear_attention, TOKENS, 3 * 24 * 64 + 2 * 2 * 24 * 4 * 4),
    "scaled per head, other stack": (_scaled, TOKENS, 3 * 24 * 64 + 2 * 2 * 24 * 4 * 4),
    "scaled per row": (_scaled_rows, TOKENS, 2 * 24 * 64 + 2 * 24 * 8 * 8),
    "dot-product block": (_dot_product_block, IMAGE, 2 * 24 * 8 * 8),
    "transposed": (_transposed, TOKENS, 2 * 24 * 8 * 8),
    "few tokens": (_few_tokens, TOKENS, 2 * 3 * 8 + 2 * 3 * 8),
    "stored matrices": (_stored_matrices, TOKENS, 24 * 8 * 4),
    "four matrices": (_four, TOKENS, 2 * 24 * 8 * 8 + 24 * 24 * 8),
}


@pytest.mark.parametrize("name", CHEAPER)
def test_chains_are_multiplied_in_the_cheapest_order(name: str) -> None:
    function, shape, expected = CHEAPER[name]
    result = apply(order_products, Net(function), shape)
    assert multiplications(fold_constants(result.program).program, shape) == expected
    assert result.changes
    assert "multiplications, not" in result.changes[0].what


# Layers and products ----------------------------------------------------------------------------


def _windows(x: Tensor, d: int) -> Tensor:
    """(1, 2 d, 4, 6) as two heads (1, 2, 24, d)."""
    return x.reshape(1, 2, d, 24).transpose(2, 3)


def _image(x: Tensor) -> Tensor:
    return x.transpose(2, 3).reshape(1, -1, 4, 6)


def _weights(x: Tensor) -> Tensor:
    y = _windows(x.tanh(), 4)
    return (y @ y.transpose(2, 3)).softmax(-1)


def _value_before(m: Net, x: Tensor) -> Tensor:
    """iRMB's attention with ``attn_pre=False`` and the value projected per head."""
    return _image(_weights(x) @ _windows(m.heads(x), 16))


def _value_after(m: Net, x: Tensor) -> Tensor:
    """The same by hand: ``attn_pre=True``."""
    return m.heads(_image(_weights(x) @ _windows(x, 4)))


def _fused(m: Net, x: Tensor) -> Tensor:
    y = _windows(x.tanh(), 4)
    return _image(F.scaled_dot_product_attention(y, y, _windows(m.heads(x), 16)))


def _one_head(m: Net, x: Tensor) -> Tensor:
    return m.attention(x) @ m.wide(x)


def _channels_first(m: Net, x: Tensor) -> Tensor:
    """v Aᵀ of channels by pixels, as in non-local blocks."""
    y = x.tanh().flatten(2)
    weights = (y.transpose(1, 2) @ y).softmax(-1)
    return (m.mixed(x).flatten(2) @ weights.transpose(1, 2)).reshape(1, 32, 4, 6)


def _pooled_keys(m: Net, x: Tensor) -> Tensor:
    """24 queries, 6 keys: a projection of the result is one of the six values."""
    keys = m.pool(x.transpose(1, 2)).transpose(1, 2)
    return m.v((x @ keys.transpose(1, 2)).softmax(-1) @ keys)


def _narrow_after(m: Net, x: Tensor) -> Tensor:
    return m.narrow(m.attention(x) @ x)


def _narrow_heads_after(m: Net, x: Tensor) -> Tensor:
    return m.few_heads(_image(_weights(x) @ _windows(x.exp(), 4)))


def _narrow_after_any_product(m: Net, x: Tensor) -> Tensor:
    """Rows that do not sum to one: the bias is added at the end."""
    return m.narrow((x @ x.transpose(1, 2)).relu() @ x)


QK = 2 * 24 * 64 + 24 * 24 * 8
WEIGHTS = 2 * 24 * 24 * 4
EXCHANGED: dict[str, tuple[Callable[[Net, Tensor], Tensor], tuple[int, ...], int]] = {
    "grouped by heads": (_value_before, IMAGE, WEIGHTS + 24 * 24 * 8 + 24 * 32 * 4),
    "fused attention": (_fused, IMAGE, WEIGHTS + 24 * 24 * 8 + 24 * 32 * 4),
    "one head": (_one_head, TOKENS, QK + 24 * 24 * 8 + 24 * 8 * 32),
    "channels first": (_channels_first, IMAGE, 2 * 24 * 24 * 8 + 24 * 8 * 32),
    "fewer keys than queries": (_pooled_keys, TOKENS, 2 * 24 * 6 * 8 + 6 * 64),
    "narrowing after": (_narrow_after, TOKENS, QK + 24 * 8 * 2 + 24 * 24 * 2),
    "narrowing heads after": (_narrow_heads_after, IMAGE, WEIGHTS + 24 * 24 * 4 + 24 * 4 * 4),
    "bias after": (_narrow_after_any_product, TOKENS, 24 * 24 * 8 + 24 * 8 * 2 + 24 * 24 * 2),
}


@pytest.mark.parametrize("name", EXCHANGED)
def test_layers_are_on_the_cheaper_side(name: str) -> None:
    function, shape, expected = EXCHANGED[name]
    result = apply(order_products, Net(function), shape)
    assert multiplications(result.program, shape) == expected
    assert result.changes
    assert "multiplications, not" in result.changes[0].what


def test_the_bias_stays_where_rows_sum_to_one() -> None:
    assert "add" not in ops(apply(order_products, Net(_narrow_after), TOKENS).program)
    bias = ops(apply(order_products, Net(_narrow_after_any_product), TOKENS).program)
    assert bias["add"] == 1


def test_attention_before_the_value_is_found_without_a_flag() -> None:
    """What EMO's code does by hand where its flag is set."""
    torch.manual_seed(0)
    costs, nodes = set(), set()
    for function in (_value_before, _value_after):
        program = mobile_export.prepare(Net(function), torch.zeros(IMAGE))
        costs.add(multiplications(program, IMAGE))
        nodes.add(sum(ops(program).values()))
    assert len(costs) == 1
    assert len(nodes) == 1


# Refusals ---------------------------------------------------------------------------------------


def _seen_twice(m: Net, x: Tensor) -> Tensor:
    pairs = x.relu() @ x.sigmoid().transpose(1, 2)
    return (pairs @ x.tanh()) / pairs.sum(-1, keepdim=True)


def _value_seen_twice(m: Net, x: Tensor) -> Tensor:
    value = m.heads(x)
    return _image(_weights(x) @ _windows(value, 16)) + value


REFUSED: dict[str, tuple[Callable[[Net, Tensor], Tensor], tuple[int, ...], str]] = {
    "softmax": (lambda m, x: m.attention(x) @ x, TOKENS, "softmax"),
    "relu": (
        lambda m, x: (x @ x.exp().transpose(1, 2)).relu() @ x,
        TOKENS,
        "relu stands between",
    ),
    "a factor per element": (
        lambda m, x: ((x @ x.exp().transpose(1, 2)) * m.table) @ x,
        TOKENS,
        "is no factor of rows or columns",
    ),
    "other users": (_seen_twice, TOKENS, "has other users"),
    "repeated matrices": (
        lambda m, x: (x @ x.exp().transpose(1, 2)) @ x[0].tanh().reshape(1, 1, 24, 8),
        TOKENS,
        "repeated or rearranged",
    ),
    "value with other users": (_value_seen_twice, IMAGE, "heads (conv2d) has other users"),
    "value of several heads": (
        lambda m, x: _image(_weights(x) @ _windows(m.mixed(x), 16)),
        IMAGE,
        "each of 2 heads would need all channels",
    ),
    "activation after the value": (
        lambda m, x: _image(_weights(x) @ _windows(F.gelu(m.heads(x)), 16)),
        IMAGE,
        "gelu stands between",
    ),
    "bias, and rows that do not sum to one": (
        lambda m, x: (x @ x.transpose(1, 2)).relu() @ m.wide(x),
        TOKENS,
        "not known to be one",
    ),
    "softmax along the other axis": (
        lambda m, x: (x @ x.transpose(1, 2)).softmax(1) @ m.wide(x),
        TOKENS,
        "not known to be one",
    ),
    "product with other users": (
        lambda m, x: m.narrow(y := m.attention(x) @ x) + y.sum(),
        TOKENS,
        "matmul_1 has other users",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_it_refuses(name: str) -> None:
    function, shape, reason = REFUSED[name]
    result = apply(order_products, Net(function), shape)
    assert result.changes == ()
    assert reason in reasons(result)
    assert "multiplications" in reasons(result)


EQUAL: dict[str, tuple[Callable[[Net, Tensor], Tensor], tuple[int, ...]]] = {
    "square matrices": (lambda m, x: (x @ x.exp()) @ x.tanh(), (1, 8, 8)),
    "cheapest already": (lambda m, x: x @ (x.exp().transpose(1, 2) @ x.tanh()), TOKENS),
    "value of equal width": (lambda m, x: m.attention(x) @ m.v(x), TOKENS),
    "a vector": (lambda m, x: (x @ x.exp().transpose(1, 2)) @ x[0, :, 0], TOKENS),
    "by hand": (_value_after, IMAGE),
}


@pytest.mark.parametrize("name", EQUAL)
def test_what_is_not_cheaper_stays(name: str) -> None:
    function, shape = EQUAL[name]
    assert apply(order_products, Net(function), shape).changes == ()


# Random -----------------------------------------------------------------------------------------


class _Random(nn.Module):
    """Matrices of the input in a random order, with transposes and factors between."""

    def __init__(self, sizes: list[int], heads: int, swaps: list[bool], factor: float) -> None:
        super().__init__()
        self.sizes, self.heads, self.swaps, self.factor = sizes, heads, swaps, factor

    def forward(self, x: Tensor) -> Tensor:
        matrices = []
        for index, (rows, columns) in enumerate(zip(self.sizes, self.sizes[1:], strict=False)):
            size = self.heads * rows * columns
            values = torch.cos(x.reshape(-1)[:size] * (index + 1))
            matrices.append(values.reshape(self.heads, rows, columns))
        while len(matrices) > 1:
            at = self.swaps[len(matrices)] if len(matrices) > 2 else 0
            first, second = matrices[at], matrices[at + 1]
            product = first @ second
            if self.swaps[0]:
                product = (second.transpose(1, 2) @ first.transpose(1, 2)).transpose(1, 2)
            if self.swaps[1]:
                product = (product * self.factor).reshape(1, *product.shape)[0]
            matrices[at : at + 2] = [product]
        return matrices[0].exp()


@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    st.lists(st.integers(1, 6), min_size=4, max_size=6),
    st.integers(1, 3),
    st.lists(st.booleans(), min_size=8, max_size=8),
    st.sampled_from([0.25, -1.0]),
)
def test_random_chains(sizes: list[int], heads: int, swaps: list[bool], factor: float) -> None:
    module, shape = _Random(sizes, heads, swaps, factor), (1, 3 * 36)
    result = apply(order_products, module, shape)
    before = multiplications(program_of(module, shape), shape)
    after = multiplications(result.program, shape)
    if not swaps[1]:  # without factors: the least of all orders, tried one by one
        assert after == heads * _least(sizes)
    assert after <= before + heads * sum(a * b for a in sizes for b in sizes)


def _least(sizes: list[int]) -> int:
    """Multiplications of the best order, by trying every one of them."""
    return min(
        (
            a * b * c + _least([*sizes[:i], *sizes[i + 1 :]])
            for i, (a, b, c) in enumerate(zip(sizes, sizes[1:], sizes[2:], strict=False), start=1)
        ),
        default=0,
    )


class _RandomAttention(nn.Module):
    """Attention of heads and windows with a projection of the value before or after it."""

    def __init__(self, heads: int, windows: int, d: int, e: int, keys: int, **on: bool) -> None:
        super().__init__()
        self.heads, self.windows, self.keys, self.on = heads, windows, keys, on
        self.d, self.e = d, e
        groups = heads if on["grouped"] else 1
        self.project = nn.Conv2d(heads * d, heads * e, 1, groups=groups, bias=on["bias"])

    def forward(self, x: Tensor) -> Tensor:
        n = self.windows
        y = x.reshape(n, self.heads, self.d, -1).cos()
        weights = y.transpose(2, 3) @ y[..., : self.keys].sin()
        weights = weights.softmax(-1) if self.on["softmax"] else weights.sigmoid()
        values = x.reshape(n, self.heads * self.d, -1)[:, :, : self.keys]
        values = values.reshape(n, self.heads * self.d, self.keys, 1)
        width = self.d
        if self.on["before"]:
            values, width = self.project(values), self.e
        values = values.reshape(n, self.heads, width, self.keys)
        mixed = (
            (values @ weights.transpose(2, 3))
            if self.on["first"]
            else (weights @ values.transpose(2, 3)).transpose(2, 3)
        )
        image = mixed.reshape(n, self.heads * width, 2, -1)
        return image.exp() if self.on["before"] else self.project(image)


@settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    st.integers(1, 3),
    st.integers(1, 2),
    st.integers(1, 4),
    st.integers(1, 6),
    st.integers(1, 8),
    st.lists(st.booleans(), min_size=5, max_size=5),
)
def test_random_attention(
    heads: int, windows: int, d: int, e: int, keys: int, flags: list[bool]
) -> None:
    names = ("grouped", "bias", "softmax", "before", "first")
    module = _RandomAttention(heads, windows, d, e, keys, **dict(zip(names, flags, strict=True)))
    shape = (windows, heads * d, 8)
    result = apply(order_products, module, shape)
    before = multiplications(program_of(module, shape), shape)
    after = multiplications(result.program, shape)
    assert after < before if result.changes else after == before
    grouped = module.on["grouped"] or heads == 1
    exact = module.on["softmax"] or not module.on["bias"] or not module.on["before"]
    if grouped and exact and min(d, e, keys) > 1:
        pixels = (8, keys) if module.on["before"] else (keys, 8)
        widths = (d, e) if module.on["before"] else (e, d)
        base = 8 * keys * d * heads * windows
        then = windows * heads * (8 * keys * widths[0] + pixels[0] * d * e)
        assert after == min(before, base + then)


def test_it_says_what_stands_in_the_way_at_the_end() -> None:
    result = apply(order_products, Net(_value_before), IMAGE)
    left = [refusal.node for refusal in result.refusals]
    assert len(left) == 1  # the softmax of the product that is in the graph now
    names = {node.name for node in result.program.exported.graph.nodes}
    assert set(left) <= names


def test_it_runs_for_every_format() -> None:
    assert order_products in PASSES
