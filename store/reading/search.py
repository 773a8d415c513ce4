"""Search for a text in everything a session decoded, and for tokens in its trees, some rounds at a time."""

from __future__ import annotations

import codecs
import json
import re
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, field

from spectui.store.reading.reader import Reader

SLICE = 2048
"""Rounds searched at a time: the rows in memory, and the steps of progress."""
AROUND = 40
"""Characters shown before and after a match."""

_ROUNDS = """
    SELECT round.number, round.bonus_token_id, node.idx, node.token_id, node.accepted
    FROM round LEFT JOIN node ON node.round_id = round.id
        AND (node.accepted OR node.token_id IN (SELECT value FROM json_each(?)))
    WHERE generation_id = ? AND number > ? AND number <= ? ORDER BY number, idx
"""


@dataclass(frozen=True)
class Hit:
    """One match. The texts are as they were decoded: sanitize them before they are drawn."""

    generation_id: int
    position: int
    number: int
    """The round that wrote the beginning of the match, or whose tree has the token."""
    idx: int | None
    """The node, when it is a draft that was not accepted; None for text of the output."""
    before: str
    match: str
    after: str


@dataclass(frozen=True)
class Step:
    """The hits of one slice of rounds."""

    hits: tuple[Hit, ...]
    rounds: int
    """Rounds searched so far."""


def search(reader: Reader, session_id: int, text: str) -> Iterator[Step]:
    """Look for `text`, whatever its case, or with ``#123`` for the token of that id.

    In the output it may go over any number of tokens; in the trees it must lie within one. Memory is
    bounded by a slice and the vocabulary; a caller may stop at any step.
    """
    summary = reader.session(session_id)
    number = re.fullmatch(r"#(\d+)", text.strip())
    sql = "SELECT token_id, bytes FROM token WHERE tokenizer_id = ?"
    tokens: dict[int, bytes] = dict(reader.fetch(sql, summary.tokenizer_id))
    pattern = re.compile(re.escape(text), re.IGNORECASE)
    if number:
        wanted = {int(number[1])}
    else:
        wanted = {i for i, data in tokens.items() if pattern.search(data.decode("utf-8", "replace"))}
    rounds = 0
    for row in reader.generations(session_id, texts=False):
        if not row.round_count:
            continue
        output = _Output(tokens, None if number else pattern, wanted if number else set(), len(text))
        after = 0
        ((last,),) = reader.fetch(
            "SELECT coalesce(max(number), 0) FROM round WHERE generation_id = ?", row.id
        )
        while after < last:
            rows = reader.fetch(_ROUNDS, json.dumps(sorted(wanted)), row.id, after, after + SLICE)
            hits = [Hit(row.id, row.position, *place) for place in output.slice(rows, wanted)]
            rounds += min(SLICE, last - after)
            after += SLICE
            yield Step(tuple(hits), rounds)


_Node = tuple[int, int | None, int | None, int | None, int | None]


@dataclass
class _Output:
    """The output of one prompt as it is put together, with the round of every token."""

    tokens: dict[int, bytes]
    pattern: re.Pattern[str] | None
    """None: look for the tokens of `ids` themselves."""
    ids: set[int]
    longest: int
    text: str = ""
    _starts: list[int] = field(default_factory=list)
    _numbers: list[int] = field(default_factory=list)
    _searched: int = 0

    def __post_init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def slice(self, rows: list[_Node], wanted: set[int]) -> Iterator[tuple[int, int | None, str, str, str]]:
        """The hits in the next rounds, in their order: round, node, and the text around it."""
        hits: list[tuple[int, int | None, str, str, str]] = []
        parts = [self.text]
        length = len(self.text)
        exact: list[tuple[int, int, int]] = []

        def add(number: int, token_id: int) -> None:
            nonlocal length
            data = self.tokens.get(token_id)
            part = f"⟨id {token_id}⟩" if data is None else self._decoder.decode(data)
            self._starts.append(length)
            self._numbers.append(number)
            if token_id in self.ids:
                exact.append((number, length, length + len(part)))
            parts.append(part)
            length += len(part)

        bonus: tuple[int, int] | None = None
        for number, bonus_token, idx, token_id, accepted in rows:
            if bonus and bonus[0] != number:
                add(*bonus)
                bonus = None
            if bonus_token is not None:
                bonus = (number, bonus_token)
            if accepted and token_id is not None:
                add(number, token_id)
            elif token_id in wanted and token_id is not None:
                data = self.tokens.get(token_id, f"⟨id {token_id}⟩".encode())
                hits.append((number, idx, "", data.decode("utf-8", "replace"), ""))
        if bonus:
            add(*bonus)
        self.text = "".join(parts)
        spans = exact if self.pattern is None else list(self._matches())
        hits += [
            (number, None, self.text[max(a - AROUND, 0) : a], self.text[a:b], self.text[b : b + AROUND])
            for number, a, b in spans
        ]
        self._forget()
        return iter(sorted(hits, key=lambda place: (place[0], place[1] is not None, place[1] or 0)))

    def _matches(self) -> Iterator[tuple[int, int, int]]:
        assert self.pattern is not None
        for match in self.pattern.finditer(self.text, self._searched):
            a, b = match.span()
            yield self._numbers[max(bisect_right(self._starts, a) - 1, 0)], a, b
            self._searched = b
        self._searched = max(self._searched, len(self.text) - self.longest + 1)

    def _forget(self) -> None:
        """Drop text but for what a match over the border may need, and what is shown around it."""
        cut = max(min(self._searched, len(self.text)) - AROUND, 0)
        kept = max(bisect_right(self._starts, cut) - 1, 0)
        cut = self._starts[kept] if self._starts else 0
        self.text = self.text[cut:]
        self._starts = [start - cut for start in self._starts[kept:]]
        self._numbers = self._numbers[kept:]
        self._searched = max(self._searched - cut, 0)
