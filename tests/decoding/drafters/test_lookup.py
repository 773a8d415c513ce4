"""Lookup drafts what followed before, says nothing it does not know, and never changes the output."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spectui.decoding.drafters.lookup import LookupDrafter
from spectui.decoding.errors import UsageError
from spectui.decoding.target.language_model import Scored
from spectui.decoding.trees.shape import TokenTree
from spectui.decoding.trees.spec import chain_shape, full_shape

NOTHING = Scored(None, None)


def _drafter(prompt: list[int], length: int = 4, least: int = 2) -> LookupDrafter:
    drafter = LookupDrafter(chain_shape(length), least)
    drafter.begin(prompt, NOTHING)
    return drafter


def test_it_drafts_what_followed_the_match_as_a_chain() -> None:
    tree = _drafter([7, 8, 9, 5, 6, 1, 7, 8, 9]).propose(9, max_depth=10)
    assert tree.token.tolist() == [5, 6, 1, 7]
    assert tree.parent.tolist() == [-1, 0, 1, 2]
    assert np.isnan(tree.draft_logprob).all()
    assert np.isnan(tree.draft_entropy).all()
    assert tree.draw == "deterministic"


def test_a_match_shorter_than_the_least_drafts_nothing() -> None:
    prompt = [7, 8, 5, 7, 8]
    assert _drafter(prompt, least=2).propose(8, max_depth=10).size == 4
    assert _drafter(prompt, least=3).propose(8, max_depth=10).size == 0
    assert _drafter([1, 2, 3], least=1).propose(3, max_depth=10).size == 0


def test_the_chain_ends_where_the_context_does() -> None:
    drafter = _drafter([7, 8, 5, 7, 8])
    assert drafter.propose(8, max_depth=2).size == 2
    assert drafter.propose(8, max_depth=0).size == 0


def test_only_a_chain_will_do() -> None:
    with pytest.raises(UsageError, match="chain"):
        LookupDrafter(full_shape(2, 2))


@given(st.lists(st.integers(0, 3), min_size=2, max_size=20), st.data())
def test_it_knows_exactly_the_tokens_that_were_committed(prompt: list[int], data: st.DataObject) -> None:
    """Rounds whose tree it did not propose too: the same proposals as a drafter that was given the whole text."""
    drafter, text = _drafter(prompt), list(prompt)
    for _ in range(data.draw(st.integers(1, 6))):
        tree = drafter.propose(text[-1], max_depth=10)
        if data.draw(st.booleans()):
            tokens = np.asarray(data.draw(st.lists(st.integers(0, 3), min_size=1, max_size=3)))
            tree = TokenTree.from_shape(chain_shape(len(tokens)), tokens)
        path = list(range(data.draw(st.integers(0, tree.size))))
        bonus = data.draw(st.integers(0, 3))
        drafter.observe(text[-1], tree, NOTHING, path, bonus)
        text += [*(int(tree.token[i]) for i in path), bonus]
        assert (
            drafter.propose(text[-1], 10).token.tolist()
            == _drafter(text).propose(text[-1], 10).token.tolist()
        )
