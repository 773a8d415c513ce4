"""The text of a replay: which part of a prompt is shown, and how to go on from any round of it."""

from __future__ import annotations

from collections.abc import Iterable

from spectui.store.rows import RoundRow
from spectui.tui.model.gaps import GapFinder
from spectui.tui.model.pieces import Piece, StreamDecoder


class ReplayText:
    """The text that is shown: of one prompt, from its round `first` to its round `number`."""

    def __init__(self) -> None:
        self.table: dict[int, bytes] = {}
        self.generation_id = -1
        self.first = 1
        self.number = 0
        self.ended = False
        self.gaps = GapFinder()
        self._states: list[tuple[int, tuple[bytes, int]]] = []
        self._decoder = StreamDecoder()

    @property
    def last_round(self) -> int:
        """The round that is shown, or the one before it where it is missing; 0 when all are."""
        return self._states[-1][0] if self._states else 0

    def open(self, generation_id: int, after: int) -> None:
        """Begin anew after a round of a prompt."""
        self.generation_id, self.first, self.number, self.ended = generation_id, after + 1, after, False
        self._states, self._decoder, self.gaps = [], StreamDecoder(), GapFinder(after)

    def feed(self, rounds: Iterable[RoundRow]) -> list[Piece]:
        """The pieces of the next rounds."""
        pieces: list[Piece] = []
        for row in rounds:
            self.gaps.learn(ids_of(row), self.table)
            pieces += [*self.gaps.note(row), *self._decoder.feed(row, self.table)]
            self._states.append((row.number, self._decoder.state))
        return pieces

    def rewind(self, number: int) -> None:
        """Go back to where a round of this prompt ended."""
        while self._states and self._states[-1][0] > number:
            self._states.pop()
        self._decoder = StreamDecoder()
        if self._states:
            self._decoder.state = self._states[-1][1]
        self.gaps.rewind(number)
        self.number, self.ended = number, False


def ids_of(row: RoundRow) -> set[int]:
    """The tokens of a round."""
    ids = {node.token_id for node in row.nodes}
    return ids if row.bonus_token_id is None else ids | {row.bonus_token_id}
