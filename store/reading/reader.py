"""The reader that every view has: sessions, prompts, rounds, figures and intervals."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import fields, replace
from itertools import groupby

from spectui.store.counts import metrics
from spectui.store.counts.bins import Bins, bins_of, unpack
from spectui.store.counts.metrics import Interval
from spectui.store.errors import StoreError
from spectui.store.liveness import is_local
from spectui.store.reading.devices import several_devices
from spectui.store.reading.queries import Queries
from spectui.store.reading.summaries import explain_missing, json_object, summaries, task_counts
from spectui.store.records import NODE_FLAGS, NODE_TYPES
from spectui.store.rows import (
    HALF_DONE_SQL,
    DepthFigures,
    EventRow,
    GenerationRow,
    NodeRow,
    OutputSample,
    RoundRow,
    SessionSummary,
    TaskFigures,
    Worker,
)
from spectui.store.sqlite.typed import Typed, declared
from spectui.store.whereabouts import read_whereabouts, stopped

_GENERATION_COLUMNS = ", ".join(field.name for field in fields(GenerationRow)[:-1])
_GENERATION_COLUMNS += ", (SELECT at FROM pruned WHERE generation_id = generation.id)"
_ROUND_COLUMNS = ", ".join(field.name for field in fields(RoundRow)[:-1] if field.name != "nodes")
_ROUND_COLUMNS += (
    ", CASE WHEN number = 1 THEN (SELECT first_token_id FROM generation WHERE id = generation_id) END"
)
_FLAGS_AT = 1 + len(NODE_TYPES) - len(NODE_FLAGS)
"""Place of the flags in a row that begins with `round_id`."""
_NODE_COLUMNS = ", ".join(f'node."{name}"' for name in NodeRow._fields)
_DEPTH_COLUMNS = ", ".join(field.name for field in fields(DepthFigures))
_TASK_COLUMNS = ", ".join(field.name for field in fields(TaskFigures)[:-3])

_GENERATION = Typed("a prompt", declared(GenerationRow), finite=True)
_ROUND = Typed("a round", {name: kind for name, kind in declared(RoundRow).items() if name != "nodes"})
_NODE = Typed("a node", {"round_id": "int", **NODE_TYPES})
_TASK = Typed("a task's figures", dict([*declared(TaskFigures).items()][:-3]), finite=True)
_LENGTH = Typed("a task's figures", {"task": "str", "accepted_length": "int", "rounds": "int"})
_DEPTH = Typed("a task's figures", {"task": "str", **declared(DepthFigures)}, finite=True)
_EVENT = Typed("an event", declared(EventRow))


def _flag(value: int | None) -> bool | None:
    return None if value is None else bool(value)


class Reader(Queries):
    """Reads sessions, prompts, rounds and figures; a context and a source of snapshots as `Queries` says."""

    def sessions(self, newest: int | None = None) -> list[SessionSummary]:
        """All sessions, or so many of them, the newest first."""
        return summaries(self, "", newest=newest)

    def session_count(self) -> int:
        """The number of sessions."""
        return int(self.fetch("SELECT count(*) FROM session WHERE deleted_at IS NULL")[0][0])

    def session(self, ref: int | str) -> SessionSummary:
        """A session by id, name or "last"; `StoreError` names the closest when there is none."""
        if isinstance(ref, str) and (digits := ref.strip()).isdecimal() and len(digits) < 20:
            # Bare of what `strip` calls a blank and `int` does not; longer ones are more than an id can be.
            ref = int(digits)
        if isinstance(ref, int) and abs(ref) >= 2**63:
            matches = []  # more than an id can be
        elif isinstance(ref, int):
            matches = summaries(self, "AND id = ?", ref)
        elif ref == "last":
            matches = summaries(self, "AND id = (SELECT max(id) FROM session WHERE deleted_at IS NULL)")
        else:
            matches = summaries(self, "AND name = ?", ref.strip())
        if matches:
            return matches[0]
        raise StoreError(explain_missing(self, ref))

    def generations(
        self,
        session_id: int,
        *,
        texts: bool = True,
        outputs: bool = True,
        within: tuple[int, int] | None = None,
    ) -> list[GenerationRow]:
        """All prompts of a session in order, or those at positions from the one of `within` to before the other.

        Without `texts` prompt_text and output are "", else without `outputs` the output is.
        """
        first, end = within or (0, 2**62)
        condition = "session_id = ? AND position >= ? AND position < ? ORDER BY position"
        return self._prompts(condition, session_id, first, end, texts=texts, outputs=outputs)

    def place_of(self, round_id: int) -> tuple[int, int] | None:
        """Position of the prompt and number of a round; None where it is gone."""
        rows = self.fetch(
            "SELECT position, number FROM round JOIN generation ON generation.id = generation_id WHERE round.id = ?",
            round_id,
        )
        return rows[0] if rows else None

    def prompt_texts(self, session_id: int, within: tuple[int, int] = (0, 2**62)) -> dict[int, str]:
        """Prompt id -> text, for positions from the one of `within` to before the other."""
        rows = self.fetch(
            "SELECT id, prompt_text FROM generation WHERE session_id = ? AND position >= ? AND position < ?",
            session_id,
            *within,
        )
        return dict(rows)

    def last_begun(self, session_id: int) -> int:
        """The position of the last prompt that has begun; 0 before any."""
        rows = self.fetch(
            "SELECT coalesce(max(position), 0) FROM generation WHERE session_id = ? AND status <> 'pending'",
            session_id,
        )
        position: int = rows[0][0]
        return position

    def begun_generations(self, session_id: int, first: int) -> list[GenerationRow]:
        """Prompts from position `first` on that have begun, in order; prompt_text and output are "".

        What a view of a growing session asks for: prompts before that ended, and prompts not begun stay as they are.
        """
        condition = "session_id = ? AND position >= ? AND status <> 'pending' ORDER BY position"
        return self._prompts(condition, session_id, first, texts=False)

    def generation(self, generation_id: int) -> GenerationRow:
        """One prompt, with its texts. Raises `StoreError` when there is none."""
        rows = self._prompts("id = ?", generation_id)
        if not rows:
            raise StoreError(f"there is no prompt {generation_id} in the database")
        return rows[0]

    def _prompts(
        self, condition: str, *parameters: int, texts: bool = True, outputs: bool = True
    ) -> list[GenerationRow]:
        columns = _GENERATION_COLUMNS if texts else _GENERATION_COLUMNS.replace("prompt_text", "''")
        if not (texts and outputs):
            columns = columns.replace("output", "''")
        rows = self.fetch(f"SELECT {columns} FROM generation WHERE {condition}", *parameters)
        return [GenerationRow(*row) for row in _GENERATION.checked(rows)]

    def output_sample(self, session_id: int, most: int = 1200) -> OutputSample | None:
        """The beginning of the first output of a session; None while it has none."""
        rows = self.fetch(
            "SELECT task, substr(prompt_text, 1, ?), substr(output, 1, ?) FROM generation"
            " WHERE session_id = ? AND status = 'finished' AND output <> '' ORDER BY position LIMIT 1",
            most,
            most,
            session_id,
        )
        return OutputSample(*rows[0]) if rows else None

    def rounds(self, generation_id: int, after: int = 0, limit: int | None = None) -> list[RoundRow]:
        """Rounds numbered above `after`, ascending, with their nodes; the first `limit` of them."""
        with self.snapshot():
            rounds = self.fetch(
                f"SELECT {_ROUND_COLUMNS} FROM round WHERE generation_id = ? AND number > ? ORDER BY number LIMIT ?",
                generation_id,
                after,
                -1 if limit is None else limit,
            )
            if not rounds:
                return []
            # Rounds of a generation are numbered without gaps, so the last number bounds the nodes.
            nodes = self.fetch(
                f"SELECT node.round_id, {_NODE_COLUMNS} FROM round JOIN node ON node.round_id = round.id"
                " WHERE generation_id = ? AND number BETWEEN ? AND ? ORDER BY number, idx",
                generation_id,
                rounds[0][2],
                rounds[-1][2],
            )
        trees = {
            round_id: tuple(NodeRow._make((*row[1:_FLAGS_AT], *map(_flag, row[_FLAGS_AT:]))) for row in rows)
            for round_id, rows in groupby(_NODE.checked(nodes), key=lambda row: row[0])
        }
        return [RoundRow(*(*row[:-2], trees.get(row[0], ()), *row[-2:])) for row in _ROUND.checked(rounds)]

    def tokens(self, tokenizer_id: str, ids: Iterable[int]) -> dict[int, bytes]:
        """Bytes of those tokens that are known."""
        rows = self.fetch(
            "SELECT token_id, bytes FROM token"
            " WHERE tokenizer_id = ? AND token_id IN (SELECT value FROM json_each(?))",
            tokenizer_id,
            json.dumps(sorted(set(ids))),
        )
        return dict(rows)

    def figures(self, session_id: int) -> dict[str, TaskFigures]:
        """Figures per task from the rollups alone, tasks in the order in which they first appear.

        Tasks none of whose prompts has started are left out.
        """
        with self.snapshot():
            order = task_counts(self, (session_id, session_id)).get(session_id, {})
            tasks = self.fetch(f"SELECT {_TASK_COLUMNS} FROM rollup_task WHERE session_id = ?", session_id)
            lengths = self.fetch(
                "SELECT task, accepted_length, rounds FROM rollup_length WHERE session_id = ?"
                " ORDER BY accepted_length",
                session_id,
            )
            depths = self.fetch(
                f"SELECT task, {_DEPTH_COLUMNS} FROM rollup_depth WHERE session_id = ? ORDER BY depth",
                session_id,
            )
            cuts = self.fetch(metrics.CUTS_SQL.format(which="generation.session_id = ?"), session_id)
            several = session_id in several_devices(self, session_id)
        rows = (TaskFigures(*(*row, {}, {}, {})) for row in _TASK.checked(tasks))
        if several:  # times of different classes of devices are nothing together
            rows = (replace(row, draft_ms=None, verify_ms=None, other_ms=None) for row in rows)
        by_task = {figures.task: figures for figures in rows}
        for task, length, rounds in _LENGTH.checked(lengths):
            by_task[task].lengths[length] = rounds
        for task, *row in _DEPTH.checked(depths):
            figures = DepthFigures(*row)
            by_task[task].depths[figures.depth] = figures
        for task, length, rounds in _LENGTH.checked(cuts):
            if task in by_task:
                by_task[task].cuts[length] = rounds
        places = {task: place for place, task in enumerate(order)}
        return dict(sorted(by_task.items(), key=lambda item: places.get(item[0], len(places))))

    def bins(self, session_id: int) -> dict[str, Bins]:
        """Bins by task: draft entropy by match, draft probability by outcome; see `store.counts.bins`."""
        rows = self.fetch("SELECT task, bins FROM rollup_task WHERE session_id = ?", session_id)
        return {task: bins_of(unpack(blob)) for task, blob in rows}

    def intervals(self, session_id: int, metric: str = "mean_accepted_length") -> dict[str, Interval]:
        """95 % intervals by task of a `metrics.RATIOS` metric, over finished prompts (over all, if none has).

        Tasks with fewer than two prompts are left out, and those whose prompts happen to agree.
        """
        from spectui.store.counts.intervals import intervals_by_task

        numerator, denominator = metrics.RATIOS[metric]
        with self.snapshot():
            rows = self.fetch(
                f"SELECT task, {numerator}, {denominator}, status = 'finished' FROM generation"
                " WHERE session_id = ? AND round_count > 0 ORDER BY position",
                session_id,
            )
            ((depth,),) = self.fetch("SELECT max(depth) FROM rollup_depth WHERE session_id = ?", session_id)
        return intervals_by_task(rows, metrics.ratio_range(metric, depth or 0))

    def unfinished(self, session_id: int) -> int:
        """The number of prompts that a resumed run would decode; see `SessionWriter.restart_unfinished`."""
        sql = f"SELECT count(*) FROM generation WHERE session_id = ? AND (status = 'pending' OR {HALF_DONE_SQL})"
        count: int = self.fetch(sql, session_id)[0][0]
        return count

    def events(self, session_id: int) -> list[EventRow]:
        """The events of a run, oldest first."""
        rows = self.fetch(
            "SELECT generation_id, at, kind, text FROM event WHERE session_id = ? ORDER BY id", session_id
        )
        return [EventRow(*row) for row in _EVENT.checked(rows)]

    def model_files(self, session_id: int) -> dict[str, dict[str, str]]:
        """The files that the models were read from: role -> file -> digest; empty when not recorded."""
        ((text,),) = self.fetch("SELECT model_files FROM session WHERE id = ?", session_id)
        return json_object(text, "model files")

    def worker(self, session_id: int) -> Worker | None:
        """The process that is, or was last, at work on a session; None where none has taken it."""
        rows = self.fetch("SELECT pid, host, worker_place FROM session WHERE id = ?", session_id)
        if not rows or rows[0][0] is None:
            return None
        pid, host, place = rows[0]
        local = is_local(host, place)
        whereabouts = read_whereabouts(place)
        return Worker(
            pid,
            host,
            local,
            local and stopped(pid),
            whereabouts.local is True and whereabouts.alive(pid) is True,
        )

    def pending_commands(self, session_id: int) -> list[str]:
        """Commands the worker has not taken yet, oldest first."""
        rows = self.fetch(
            "SELECT kind FROM command WHERE session_id = ? AND taken_at IS NULL ORDER BY id", session_id
        )
        return [kind for (kind,) in rows]
