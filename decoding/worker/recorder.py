"""The way of a round into the database, while the next one is decoded."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np

from spectui.decoding.trees.shape import ROOT
from spectui.decoding.worker.run_writer import RunWriter
from spectui.store.records import NodeRecord, RoundRecord

if TYPE_CHECKING:
    from spectui.decoding.engine import SpeculativeDecoder
    from spectui.decoding.rounds import Round
    from spectui.decoding.worker.idle import IdleTime

SUSPECT_SECONDS = 1.0
"""Shorter waits are not examined for standstills."""


class Recorder:
    """Writes rounds, and first the bytes of every token: a third of a second once, instead of some time each round.

    A round is written by a thread of its own while the next is decoded, never more than one at a time:
    torch and SQLite both let other threads run, so that recording is off the critical path. An error is raised by the
    next call, at the latest by `flush`, which comes before anything else is written. `after` is called by that thread
    when a round is written.
    """

    def __init__(
        self,
        writer: RunWriter,
        decoder: SpeculativeDecoder,
        *,
        after: Callable[[], None] | None = None,
        idle: IdleTime | None = None,
    ) -> None:
        self._writer = writer
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="recorder")
        self._after = after
        self._written: Future[None] | None = None
        self._carried_ms = 0.0
        self.seconds = 0.0
        """Time that its thread spent on rounds."""
        self._idle = idle
        vocabulary = decoder.models.tokenizer
        size = decoder.target.vocab_size
        if writer.tokens_known(vocabulary.identity) < size:
            writer.add_tokens(vocabulary.identity, vocabulary.table(size))

    def record(self, generation_id: int, round_: Round, choice_id: int | None = None) -> float:
        """Write one round, and return its milliseconds as they are written; it is durable when the next call returns.

        The time that decoding waits for it counts as other time of the next round.
        """
        start = time.perf_counter()
        self.flush()
        waited, self._carried_ms = self._carried_ms, 0.0
        self._written = self._thread.submit(self._write, generation_id, round_, choice_id, waited)
        self._carried_ms = 1e3 * self._spent(start)
        return round_.draft_ms + round_.verify_ms + round_.other_ms + waited

    def _spent(self, start: float) -> float:
        """Seconds since `start`, without those in which the disk was full or the process stood still."""
        end = time.perf_counter()
        if self._idle is None or end - start < SUSPECT_SECONDS:
            return end - start
        self._idle.look()
        return max(end - start - self._idle.within(start, end), 0.0)

    def flush(self) -> None:
        """Wait for the round that is being written. Raises `StoreError` when it could not be."""
        if self._written is not None:
            written, self._written = self._written, None
            written.result()

    def _write(self, generation_id: int, round_: Round, choice_id: int | None, extra_ms: float) -> None:
        start = time.perf_counter()
        record = to_record(round_, extra_ms=extra_ms, choice_id=choice_id)
        self._writer.record_round(generation_id, record)
        if self._after is not None:
            self._after()
        self.seconds += time.perf_counter() - start


def to_record(round_: Round, *, extra_ms: float = 0.0, choice_id: int | None = None) -> RoundRecord:
    """The row of a round and of its nodes; figures that a drafter does not know become None.

    `extra_ms` is time spent on the round before outside the engine (recording, text) and counts as
    other time, so that the three durations add up to the wall time of decoding.
    """
    columns = zip(*(_column(round_, name) for name in NodeRecord._fields), strict=True)
    nodes = list(map(NodeRecord._make, columns))
    return RoundRecord(
        number=round_.number,
        prefix_length=round_.prefix_length,
        accepted_length=len(round_.path),
        bonus_token_id=round_.bonus,
        cut=round_.cut,
        draft_ms=round_.draft_ms,
        verify_ms=round_.verify_ms,
        other_ms=round_.other_ms + extra_ms,
        nodes=nodes,
        choice_id=choice_id,
    )


def _column(round_: Round, name: str) -> list[Any]:
    """A column of the round's nodes: the array of that name in the round or its tree, but for those listed here."""
    tree = round_.tree
    match name:
        case "idx":
            return list(range(len(tree.parent)))
        case "parent":
            return [None if parent == ROOT else parent for parent in tree.parent.tolist()]
        case "token_id":
            return list(tree.token.tolist())
        case "draft_p":
            return _known(np.exp(tree.draft_logprob))
        case "draft_entropy":
            return _known(tree.draft_entropy)
    values: np.ndarray | None = getattr(round_, name, None)
    return list((getattr(tree, name) if values is None else values).tolist())


def _known(values: np.ndarray) -> list[float | None]:
    return [None if math.isnan(v) else v for v in values.tolist()]
