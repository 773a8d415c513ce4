"""Figures of a session up to a given round, for replay, and the course of its time.

A moment is a prompt and the number of a round of it that is the last one known. What came before is read
from the sums of earlier prompts and from blocks (`store.counts.rollups`); the nodes of fewer than `BLOCK` rounds
are counted, whatever the session holds.
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from spectui.store.counts import metrics
from spectui.store.counts.bins import Bins, bins_of, unpack
from spectui.store.counts.metrics import Interval
from spectui.store.counts.recount import BINS_SQL, add_up
from spectui.store.counts.sums import DEPTH_SUMS, NODE_SQL, NODES_SQL, ROUND_SUMS, TIMES, plus, whole
from spectui.store.reading.reader import Reader
from spectui.store.rows import DepthFigures, GenerationRow, TaskFigures

_DEPTH_TOTALS = ", ".join(f"sum(at.{name})" for name in DEPTH_SUMS)
_BLOCK_TOTALS = ", ".join(whole(name) if name in TIMES else f"sum({name})" for name in ROUND_SUMS)
_NONE: tuple[float | None, ...] = (0, 0, 0, 0.0, 0.0, 0.0)
"""The columns of `sums.ROUND_SUMS` before any round."""


@dataclass
class TaskSums:
    """Sums over rounds of one task. `rounds` has the columns of `sums.ROUND_SUMS`."""

    prompts: int = 0
    rounds: tuple[float | None, ...] = _NONE
    depths: dict[int, tuple[float | None, ...]] = field(default_factory=dict)
    """Depth -> the columns of `sums.DEPTH_SUMS`."""
    cuts: dict[int, int] = field(default_factory=dict)
    """Accepted length -> rounds that were cut there."""

    def __add__(self, other: TaskSums) -> TaskSums:
        depths = dict(self.depths)
        for depth, sums in other.depths.items():
            depths[depth] = _plus(depths[depth], sums) if depth in depths else sums
        cuts = Counter(self.cuts) + Counter(other.cuts)
        return TaskSums(self.prompts + other.prompts, _plus(self.rounds, other.rounds), depths, dict(cuts))


@dataclass(frozen=True)
class Stretch:
    """Consecutive rounds of one prompt, the smallest part of a session's course that is summed up."""

    generation_id: int
    first: int
    last: int
    """Numbers of its rounds, both included."""
    rounds: int
    tokens: int
    accepted_count: int
    total_ms: float

    @property
    def mean_accepted_length(self) -> float | None:
        """Accepted draft tokens per round."""
        return metrics.mean_accepted_length(self.accepted_count, self.rounds)


@dataclass(frozen=True)
class RoundTime:
    """One round without its tree."""

    number: int
    tokens: int
    total_ms: float


FEW, FINE = 20_000, 8
"""Rounds up to which a session's course is read round by round, and rounds of each of its stretches then."""


def stretches(reader: Reader, session_id: int) -> list[Stretch]:
    """The course of a session: its rounds in the order they were decoded, summed up by a few or by block."""
    with reader.snapshot():
        ((rounds,),) = reader.fetch(
            "SELECT total(round_count) FROM generation WHERE session_id = ?", session_id
        )
        if rounds <= FEW:
            return [
                Stretch(*row)
                for row in reader.fetch(
                    "SELECT generation_id, min(number), max(number), count(*),"
                    " sum(accepted_length) + count(bonus_token_id), sum(accepted_length),"
                    f" sum({metrics.total_ms_sql('round')})"
                    " FROM generation JOIN round ON round.generation_id = generation.id WHERE session_id = ?"
                    " GROUP BY position, (number - 1) / ? ORDER BY position, min(number)",
                    session_id,
                    FINE,
                )
            ]
        totals = reader.fetch(
            "SELECT id, round_count, token_count, accepted_count,"
            f" {metrics.total_ms_sql('generation')} FROM generation"
            " WHERE session_id = ? AND round_count > 0 ORDER BY position",
            session_id,
        )
        blocks = reader.fetch(
            "SELECT generation_id, last, rounds, tokens, block.accepted_count,"
            f" {metrics.total_ms_sql('block')}"
            " FROM generation JOIN rollup_block AS block ON block.generation_id = generation.id"
            " WHERE session_id = ? ORDER BY position, last",
            session_id,
        )
    by_prompt: dict[int, list[tuple[Any, ...]]] = {}
    for generation_id, *block in blocks:
        by_prompt.setdefault(generation_id, []).append(tuple(block))
    stretches: list[Stretch] = []
    for generation_id, *all_rounds in totals:
        blocks_of = by_prompt.get(generation_id, ())
        first = 1
        for last, *sums in blocks_of:
            stretches.append(Stretch(generation_id, first, last, *sums))
            first = last + 1
        summed = [sum(column) for column in zip(*blocks_of, strict=True)][1:] or [0] * len(all_rounds)
        rounds, *uncovered = (all_ - blocks_ for all_, blocks_ in zip(all_rounds, summed, strict=True))
        if rounds > 0:
            stretches.append(Stretch(generation_id, first, first + rounds - 1, rounds, *uncovered))
    return stretches


def tasks_of(reader: Reader, session_id: int) -> dict[int, str]:
    """Generation id -> task."""
    return dict(reader.fetch("SELECT id, task FROM generation WHERE session_id = ?", session_id))


def round_times(reader: Reader, stretch: Stretch) -> list[RoundTime]:
    """The rounds of a stretch; fewer than it says when some are missing."""
    rows = reader.fetch(
        f"SELECT number, accepted_length + (bonus_token_id IS NOT NULL), {metrics.total_ms_sql('round')} FROM round"
        " WHERE generation_id = ? AND number BETWEEN ? AND ? ORDER BY number",
        stretch.generation_id,
        stretch.first,
        stretch.last,
    )
    return [RoundTime(*row) for row in rows]


def sums_before(reader: Reader, session_id: int, position: int) -> dict[str, TaskSums]:
    """Sums over the prompts before a position, by task."""
    by_task: dict[str, TaskSums] = {}
    with reader.snapshot():
        for task, prompts, *rounds in reader.fetch(
            "SELECT task, count(*), sum(round_count), sum(token_count), sum(accepted_count),"
            f" {', '.join(map(whole, TIMES))} FROM generation"
            " WHERE session_id = ? AND position < ? AND status != 'pending' GROUP BY task",
            session_id,
            position,
        ):
            by_task[task] = TaskSums(prompts, tuple(rounds))
        for task, depth, *sums in reader.fetch(
            f"SELECT task, at.depth, {_DEPTH_TOTALS} FROM generation"
            " JOIN rollup_block_depth AS at ON at.generation_id = generation.id"
            " WHERE session_id = ? AND position < ? GROUP BY task, at.depth",
            session_id,
            position,
        ):
            by_task[task].depths[depth] = tuple(sums)
        before = metrics.CUTS_SQL.format(which="generation.session_id = ? AND generation.position < ?")
        for task, length, rounds in reader.fetch(before, session_id, position):
            by_task[task].cuts[length] = rounds
        # Prompts that a worker, gone by now, left before it could sum up their end.
        for generation_id, task, covered, rounds_known in reader.fetch(
            "SELECT id, task, (SELECT coalesce(max(last), 0) FROM rollup_block WHERE generation_id = generation.id),"
            " round_count FROM generation WHERE session_id = ? AND position < ? AND round_count > 0",
            session_id,
            position,
        ):
            if covered < rounds_known:
                rest = TaskSums(depths=_counted_depths(reader, generation_id, covered, rounds_known))
                by_task[task] = by_task[task] + rest
    return by_task


def sums_within(reader: Reader, generation_id: int, number: int) -> TaskSums:
    """Sums over the rounds of one prompt up to `number`; of a pruned one, up to the end of that block."""
    total = TaskSums(prompts=1)
    with reader.snapshot():
        number = _countable(reader, generation_id, number)
        ((covered, *sums),) = reader.fetch(
            f"SELECT max(last), {_BLOCK_TOTALS} FROM rollup_block WHERE generation_id = ? AND last <= ?",
            generation_id,
            number,
        )
        if covered is not None:
            total.rounds = tuple(sums)
            for depth, *at in reader.fetch(
                f"SELECT at.depth, {_DEPTH_TOTALS} FROM rollup_block_depth AS at"
                " WHERE generation_id = ? AND last <= ? GROUP BY at.depth",
                generation_id,
                number,
            ):
                total.depths[depth] = tuple(at)
        ((count, *rest),) = reader.fetch(
            f"SELECT {', '.join(ROUND_SUMS.values())} FROM round"
            " WHERE generation_id = ? AND number > ? AND number <= ?",
            generation_id,
            covered or 0,
            number,
        )
        if count:
            depths = _counted_depths(reader, generation_id, covered or 0, number)
            total += TaskSums(rounds=(count, *rest), depths=depths)
        cut = metrics.CUTS_SQL.format(which="generation.id = ? AND round.number <= ?")
        total.cuts = {length: rounds for _, length, rounds in reader.fetch(cut, generation_id, number)}
    return total


def _countable(reader: Reader, generation_id: int, number: int) -> int:
    """The first round from `number` on up to which everything is known: blocks stay when nodes are pruned."""
    ((pruned, last),) = reader.fetch(
        "SELECT (SELECT 1 FROM pruned WHERE generation_id = ?1), min(last) FROM rollup_block"
        " WHERE generation_id = ?1 AND last >= ?2",
        generation_id,
        number,
    )
    return last if pruned and last is not None else number


def figures(sums: dict[str, TaskSums]) -> dict[str, TaskFigures]:
    """The figures of each task, as `Reader.figures` gives them at the end of a session."""
    return {task: _figures(task, of) for task, of in sums.items()}


def intervals(generations: Iterable[GenerationRow], depth: int) -> dict[str, Interval]:
    """Intervals of mean accepted length by task, over prompts as they were; see `Reader.intervals`."""
    from spectui.store.counts.intervals import intervals_by_task

    rows = [
        (row.task, row.accepted_count, row.round_count, row.status == "finished")
        for row in generations
        if row.round_count
    ]
    return intervals_by_task(rows, metrics.ratio_range("mean_accepted_length", depth))


def _figures(task: str, sums: TaskSums) -> TaskFigures:
    depths: dict[int, DepthFigures] = {}
    for depth, at in sorted(sums.depths.items()):
        columns: dict[str, Any] = dict(zip(DEPTH_SUMS, at, strict=True))
        depths[depth] = DepthFigures(depth=depth, **columns)
    rounds: dict[str, Any] = dict(zip(ROUND_SUMS, sums.rounds, strict=True))
    totals = {name: sum(getattr(at, name) for at in depths.values()) for name in ("nodes", *NODE_SQL)}
    # A path as long as d reached every depth up to d, so that lengths are differences of what was reached.
    reached = [rounds["rounds"], *(at.rounds_reached for at in depths.values()), 0]
    lengths = {
        length: reaching - beyond
        for length, (reaching, beyond) in enumerate(pairwise(reached))
        if reaching > beyond
    }
    return TaskFigures(
        task=task,
        prompts=sums.prompts,
        **(totals | rounds),
        lengths=lengths,
        depths=depths,
        cuts=sums.cuts,
    )


def _counted_depths(
    reader: Reader, generation_id: int, after: int, number: int
) -> dict[int, tuple[float | None, ...]]:
    rows = reader.fetch(
        f"SELECT node.depth, {', '.join(DEPTH_SUMS.values())} FROM {NODES_SQL}"
        " WHERE round.generation_id = ? AND round.number > ? AND round.number <= ? GROUP BY node.depth",
        generation_id,
        after,
        number,
    )
    return {depth: tuple(sums) for depth, *sums in rows}


def _plus(some: tuple[float | None, ...], more: tuple[float | None, ...]) -> tuple[float | None, ...]:
    return tuple(map(plus, some, more))


MOST_NODES = 400_000
"""Nodes up to a moment beyond which they are not counted: it would take seconds."""

_COUNTED = BINS_SQL.format(which="generation.id = ? AND round.number <= ?")


class MomentBins:
    """The bins of one session at one moment after the other: counted from its nodes, each prompt once."""

    def __init__(self) -> None:
        self._whole: dict[int, array[int] | None] = {}

    def at(self, reader: Reader, known: Sequence[GenerationRow], number: int) -> dict[str, Bins] | None:
        """Task -> bins of `known`, the prompts up to the moment's, of whose last `number` rounds are known.

        None when that is more than `MOST_NODES`. Prompts whose nodes were pruned or that a draft gave no
        probabilities for add nothing.
        """
        if sum(row.node_count for row in known) > MOST_NODES:
            return None
        sums: dict[str, array[int]] = {}
        with reader.snapshot():
            for row in known:
                if row.pruned_at:
                    continue
                if row is known[-1]:
                    counts = _counted(reader, row.id, number)
                else:
                    if row.id not in self._whole:
                        self._whole[row.id] = _counted(reader, row.id, row.round_count)
                    counts = self._whole[row.id]
                if counts is not None:
                    before = sums.setdefault(row.task, unpack())
                    sums[row.task] = array("I", map(int.__add__, before, counts))
        return {task: bins_of(counts) for task, counts in sums.items()}


def _counted(reader: Reader, generation_id: int, number: int) -> array[int] | None:
    return next(iter(add_up(reader.fetch(_COUNTED, generation_id, number)).values()), None)
