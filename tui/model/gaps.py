"""Gaps in the text of a prompt: rounds that are missing, tokens of an unknown tokenizer."""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator
from dataclasses import dataclass, replace

from spectui.store.rows import RoundRow
from spectui.tui.model.pieces import Piece
from spectui.tui.terminal.cells import count


@dataclass(frozen=True)
class Gaps:
    """Posted whenever there are more of them than before."""

    missing: int = 0
    """Rounds."""
    unknown: bool = False
    """True when tokens are shown as their ids."""

    @property
    def words(self) -> str:
        """One sentence for each kind; "" when nothing is missing."""
        sentences = []
        if self.missing:
            several = "rounds of this prompt are" if self.missing > 1 else "round of this prompt is"
            sentences.append(f"{count(self.missing)} {several} missing from the file: it was cut or damaged.")
        if self.unknown:
            sentences.append("The session's tokenizer is not in the database: tokens are shown as their ids.")
        return " ".join(sentences)


class GapFinder:
    """Follows the rounds of one prompt as they are read."""

    def __init__(self, after: int = 0) -> None:
        self._last = after
        self._places: dict[int, int] = {}
        self._gaps = self._posted = Gaps()

    def note(self, row: RoundRow) -> list[Piece]:
        """Follow a round; returns the remark before it where rounds are missing."""
        gone = row.number - self._last - 1
        self._last = row.number
        return self._gone(gone, row.number)

    def end(self, rounds: int) -> list[Piece]:
        """Note that the prompt has ended after so many rounds; returns the remark where the last are missing."""
        gone, self._last = rounds - self._last, max(rounds, self._last)
        return self._gone(gone, self._last)

    def rewind(self, number: int) -> None:
        """Forget what comes after this round."""
        self._last = number
        self._places = {place: gone for place, gone in self._places.items() if place <= number}
        self._gaps = replace(self._gaps, missing=sum(self._places.values()))

    def learn(self, ids: Iterable[int], known: Container[int]) -> None:
        """Note that these tokens are shown; `known` are those whose bytes are in the database."""
        if not self._gaps.unknown and any(token not in known for token in ids):
            self._gaps = replace(self._gaps, unknown=True)

    def news(self) -> Iterator[Gaps]:
        """The gaps, when they differ from those posted last."""
        if self._gaps != self._posted:
            self._posted = self._gaps
            yield self._gaps

    def _gone(self, rounds: int, number: int) -> list[Piece]:
        if rounds <= 0:
            return []
        self._places[number] = rounds
        self._gaps = replace(self._gaps, missing=sum(self._places.values()))
        words = f"\n⋯ {count(rounds)} round{'s are' if rounds > 1 else ' is'} missing here.\n"
        return [Piece("note", words, number, 0)]
