"""A suffix automaton of a growing token sequence, which finds earlier occurrences of its end. Torch-free.

The automaton of Blumer et al. (Theoretical Computer Science 40, 1985), built online: a state stands for
the substrings that end at the same set of places, its suffix link for the longest suffix that ends
at more of them. The longest suffix of the whole sequence that also ends earlier is therefore that of the state
which the newest one links to: nothing is searched.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

_EMPTY = 0
"""The state of the empty string, where all links end."""


class Match(NamedTuple):
    """The longest suffix of the sequence that occurred in it before."""

    length: int
    """Tokens that agree."""
    end: int
    """Index behind their first occurrence, which `tokens[end]` followed."""


class SuffixAutomaton:
    """Grows by one token at a time: O(1) amortised, at most two states a token.

    (Splitting a state copies its transitions; in text these are few.)
    """

    def __init__(self, tokens: Iterable[int] = ()) -> None:
        self.tokens: list[int] = []
        # One entry per state: its longest string's length, its link, what follows, where it first ended.
        self._length = [0]
        self._link = [-1]
        self._next: list[dict[int, int]] = [{}]
        self._end = [0]
        self._newest = _EMPTY
        self.extend(tokens)

    def extend(self, tokens: Iterable[int]) -> None:
        """Append `tokens` in order."""
        for token in tokens:
            self.append(token)

    def append(self, token: int) -> None:
        """Make the sequence one token longer."""
        self.tokens.append(token)
        new = self._state(len(self.tokens), _EMPTY, {}, len(self.tokens))
        state = self._newest
        while state >= 0 and token not in self._next[state]:
            self._next[state][token] = new
            state = self._link[state]
        if state >= 0:
            self._link[new] = self._exactly(state, token)
        self._newest = new

    def match(self) -> Match | None:
        """The longest suffix that also ends earlier, at its first occurrence; None if its last token is new."""
        if not self.tokens:
            return None
        state = self._link[self._newest]
        return Match(self._length[state], self._end[state]) if state != _EMPTY else None

    def continuation(self, end: int, count: int) -> list[int]:
        """The `count` tokens from index `end` on, below the sequence's length.

        As in a Lempel-Ziv copy the source may run into the copy, so that a loop goes on and there are always `count`
        tokens.
        """
        period = len(self.tokens) - end
        return [self.tokens[end + i % period] for i in range(count)]

    def _exactly(self, state: int, token: int) -> int:
        """The state whose longest string is that of `state` with `token` behind it, split off where needed."""
        following = self._next[state][token]
        if self._length[following] == self._length[state] + 1:
            return following
        split = self._state(
            self._length[state] + 1,
            self._link[following],
            dict(self._next[following]),
            self._end[following],
        )
        self._link[following] = split
        while state >= 0 and self._next[state].get(token) == following:
            self._next[state][token] = split
            state = self._link[state]
        return split

    def _state(self, length: int, link: int, following: dict[int, int], end: int) -> int:
        self._length.append(length)
        self._link.append(link)
        self._next.append(following)
        self._end.append(end)
        return len(self._length) - 1
