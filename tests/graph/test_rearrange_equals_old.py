"""`Rearrangement` equals the three types that it replaces, on random chains; goes with them."""

from __future__ import annotations

import dataclasses

from hypothesis import given, settings
from hypothesis import strategies as st

from mobile_export.graph import movement, rearrange
from mobile_export.graph.atoms import atoms_of
from mobile_export.graph.movement import Movement
from mobile_export.graph.rearrange import GRAPH_PRICES, LAYER_PRICES, Rearrangement
from mobile_export.lowering import builder, ir
from mobile_export.lowering.view import View
from tests.graph.test_rearrange import Chain, chains, one_map


def old_map(chain: Chain) -> Movement | None:
    shape, steps = chain
    whole: Movement | None = movement.identity(shape)
    for kind, value in steps:
        assert whole is not None
        step = dataclasses.replace(movement.identity(whole.after), after=tuple(value))
        if kind == "permute":
            step = movement.permutation(whole.after, value)
        whole = whole.then(step)
        if whole is None:
            return None
    return whole


def fields(old: Movement) -> Rearrangement:
    return Rearrangement(old.before, old.atoms, old.order, old.after)


@settings(max_examples=300, deadline=None)
@given(chains(), st.booleans())
def test_movements_and_atoms(chain: Chain, whole: bool) -> None:
    old, new = old_map(chain), one_map(chain)
    if old is None or new is None:
        assert old is new is None
        return
    new = new.simplified()
    assert fields(old) == new
    assert fields(old.inverse) == new.inverse
    assert movement.steps_of(old) == new.steps()
    assert movement.price(old) == new.cost(GRAPH_PRICES)
    assert builder.price(old) == new.cost(LAYER_PRICES)
    assert old.cost == new.disorder
    assert [fields(step) for step in movement.first_steps(old)] == rearrange.first_steps(new)
    parts = old.before if whole else ()
    atoms, cut = atoms_of(old, parts), new.cut(parts)
    if atoms is None or cut is None:
        assert atoms is cut is None
        return
    assert (atoms.sizes, atoms.order, atoms.targets) == (cut.factors, cut.order, cut.targets)
    assert not parts or atoms.sources == cut.sources(parts)


@settings(max_examples=300, deadline=None)
@given(chains())
def test_views(chain: Chain) -> None:
    shape, steps = chain
    old = View.of(ir.Value("x", shape), shape)
    new = Rearrangement.identity(shape).simplified().cut()
    for kind, value in steps:
        assert new is not None
        if kind == "permute":
            old, new = old.permute(value), new.then(Rearrangement.permute(new.after, value))
        else:
            reshaped = old.reshape(value)
            new = dataclasses.replace(new.simplified(), after=tuple(value)).cut()
            if reshaped is None or new is None:
                assert reshaped is new is None
                return
            old = reshaped
        assert new is not None
        assert [vars(atom) for atom in old.atoms] == [vars(factor) for factor in new.named()]
