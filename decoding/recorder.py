"""Rounds into the database, with the time that takes."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from store.writer import SessionWriter

if TYPE_CHECKING:
    from decoding.engine import Round, SpeculativeDecoder


class Recorder:
    """Writes rounds, after the bytes of every token: a tenth of a second once, instead of some each round."""

    def __init__(self, writer: SessionWriter, decoder: SpeculativeDecoder) -> None:
        from decoding.recording import to_record  # torch comes with it

        self._writer = writer
        self._to_record = to_record
        self._carried_ms = 0.0
        vocabulary = decoder.models.tokenizer
        writer.add_tokens(vocabulary.identity, vocabulary.table(decoder.target.vocab_size))

    def record(self, generation_id: int, round_: Round, choice_id: int | None = None) -> None:
        """One round, durably. The time it takes counts as other time of the round after."""
        start = time.perf_counter()
        record = self._to_record(round_, extra_ms=self._carried_ms, choice_id=choice_id)
        self._writer.record_round(generation_id, record)
        self._carried_ms = 1e3 * (time.perf_counter() - start)
