"""The automaton against a search of every place: a wrong match drafts nonsense without ever failing."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spectui.decoding.drafters.suffix_automaton import Match, SuffixAutomaton

# Few distinct tokens, so that suffixes repeat, overlap and split states.
texts = st.integers(1, 4).flatmap(lambda kinds: st.lists(st.integers(0, kinds - 1), max_size=60))


def _brute_force(tokens: list[int]) -> Match | None:
    """The longest suffix that also ends before the end, at the first such place."""
    for length in range(len(tokens) - 1, 0, -1):
        for end in range(length, len(tokens)):
            if tokens[end - length : end] == tokens[len(tokens) - length :]:
                return Match(length, end)
    return None


@given(texts)
def test_the_match_is_the_longest_suffix_seen_before_at_its_first_place(tokens: list[int]) -> None:
    automaton = SuffixAutomaton()
    for count, token in enumerate(tokens, start=1):
        automaton.append(token)
        assert automaton.match() == _brute_force(tokens[:count])


@given(texts)
def test_it_never_has_more_than_two_states_a_token(tokens: list[int]) -> None:
    """The bound that makes it linear; a split that is not needed breaks it."""
    assert len(SuffixAutomaton(tokens)._next) <= max(2 * len(tokens), 1)


@given(texts.filter(lambda tokens: len(tokens) > 1), st.data())
def test_a_continuation_goes_on_as_if_the_text_repeated_itself(
    tokens: list[int], data: st.DataObject
) -> None:
    end = data.draw(st.integers(0, len(tokens) - 1))
    drafted = SuffixAutomaton(tokens).continuation(end, 20)
    longer = [*tokens, *drafted]
    assert longer[len(tokens) :] == longer[end : end + 20]


@pytest.mark.parametrize(
    ("tokens", "expected"),
    [([], None), ([1], None), ([1, 2], None), ([1, 1], Match(1, 1)), ([1, 2, 3, 9, 1, 2, 3], Match(3, 3))],
)
def test_small_texts(tokens: list[int], expected: Match | None) -> None:
    assert SuffixAutomaton(tokens).match() == expected
