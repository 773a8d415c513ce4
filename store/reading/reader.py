"""What every view reads."""

from __future__ import annotations

import difflib
import json
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import fields
from functools import lru_cache
from itertools import groupby
from pathlib import Path
from typing import Any

from spectui.store.counts import metrics
from spectui.store.counts.bins import Bins, bins_of, unpacked
from spectui.store.counts.metrics import Interval
from spectui.store.database import Connection, connect, raw
from spectui.store.errors import StoreError
from spectui.store.labels import split_tags
from spectui.store.liveness import WORKER_COLUMNS, effective_status, is_here, silent_seconds
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
from spectui.store.sqlite.transactions import explained, path_of
from spectui.store.sqlite.typed import UNSOUND, Typed
from spectui.store.whereabouts import FileIdentity, identity, read_whereabouts, stopped

_SESSION_COLUMNS = (
    "id, name, status, stage, stage_done, stage_total, stage_unit, pid, pid_created, host, heartbeat_at, created_at,"
    " started_at, ended_at, config, target, drafter, tree, device, tokenizer_id, versions, notes, tags, error,"
    " prompt_count, baseline_ms, cpu_percent, rss_bytes, gpu, log_path, costs, energy_joules, energy_seconds,"
    " round_at, worker_place, baseline_low_ms, baseline_high_ms, baseline_count"
)
_SESSION_SUMS = (
    "tokens, rounds, nodes, draft_ms, verify_ms, other_ms, match_count, at_risk_count, accepted_count"
)
_SESSION_NAMES, _SUM_NAMES = _SESSION_COLUMNS.split(", "), _SESSION_SUMS.split(", ")
_GENERATION_COLUMNS = ", ".join(field.name for field in fields(GenerationRow)[:-1])
_GENERATION_COLUMNS += ", (SELECT at FROM pruned WHERE generation_id = generation.id)"
_ROUND_COLUMNS = ", ".join(field.name for field in fields(RoundRow) if field.name != "nodes")
_NODE_COLUMNS = ", ".join(f'node."{name}"' for name in NodeRow._fields)
_DEPTH_COLUMNS = ", ".join(field.name for field in fields(DepthFigures))
_TASK_COLUMNS = ", ".join(field.name for field in fields(TaskFigures)[:-3])


def _declared(row: type) -> dict[str, str]:
    """The names and types of a dataclass's fields."""
    return {field.name: str(field.type) for field in fields(row)}


_SESSION = Typed(
    "a session",
    {
        name: "str" if name in ("tags", "worker_place") else _declared(SessionSummary)[name]
        for name in _SESSION_NAMES
    },
    finite=True,
)
_GENERATION = Typed("a prompt", _declared(GenerationRow), finite=True)
_ROUND = Typed("a round", {name: kind for name, kind in _declared(RoundRow).items() if name != "nodes"})
_NODE = Typed(
    "a node",
    {"round_id": "int"} | {name: kind.__forward_arg__ for name, kind in NodeRow.__annotations__.items()},
)
_TASK = Typed("a task's figures", dict([*_declared(TaskFigures).items()][:-3]), finite=True)
_LENGTH = Typed("a task's figures", {"task": "str", "accepted_length": "int", "rounds": "int"})
_DEPTH = Typed("a task's figures", {"task": "str", **_declared(DepthFigures)}, finite=True)
_EVENT = Typed("an event", _declared(EventRow))


class Reader:
    """Reads a database that others may be writing. A path is opened read-only and closed by `close()`.

    As a context it says in one line when what is worked out in the block fails on values that are none of ours.
    May be called from any thread; calls take turns. Give it a path, or a connection that no other
    thread writes with: it would see that one's half-done transactions. Every method raises
    `StoreError` when the file cannot be read.
    """

    def __init__(self, source: Path | str | Connection) -> None:
        self._owned = isinstance(source, Path | str)
        self._connection = connect(source, read_only=True) if isinstance(source, Path | str) else raw(source)
        self._file = identity(path_of(self._connection))
        self._lock = threading.RLock()
        self._version: int | None = None

    def close(self) -> None:
        """Close what was opened here."""
        if self._owned:
            self._connection.close()

    def __enter__(self) -> Reader:
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        path = path_of(self._connection) if isinstance(error, UNSOUND) else ""
        self.close()
        if isinstance(error, UNSOUND):
            # SQLite keeps any kind of value in any column, and what is worked out from them fails in many ways.
            raise StoreError(
                f"database {path} holds values that are none of ours ({type(error).__name__}: {str(error)[:80]});"
                f" see: spectui doctor --db {path}"
            ) from error

    def changed(self) -> bool:
        """Whether another connection committed since last asked (True the first time); microseconds.

        A worker that dies commits nothing: look at `session()` now and then even when this is False.
        """
        version: int = self._all("PRAGMA data_version")[0][0]
        before, self._version = self._version, version
        return version != before

    def sessions(self, newest: int | None = None) -> list[SessionSummary]:
        """All sessions, or so many of them, the newest first."""
        return self._summaries("", newest=newest)

    def session_count(self) -> int:
        """How many sessions there are."""
        return int(self._all("SELECT count(*) FROM session WHERE deleted_at IS NULL")[0][0])

    def session(self, ref: int | str) -> SessionSummary:
        """By id, name or "last"; `StoreError` names the closest when there is none."""
        if isinstance(ref, str) and (digits := ref.strip()).isdecimal() and len(digits) < 20:
            # Bare of what `strip` calls a blank and `int` does not; longer ones are more than an id can be.
            ref = int(digits)
        if isinstance(ref, int) and abs(ref) >= 2**63:
            found = []  # more than an id can be
        elif isinstance(ref, int):
            found = self._summaries("AND id = ?", ref)
        elif ref == "last":
            found = self._summaries("AND id = (SELECT max(id) FROM session WHERE deleted_at IS NULL)")
        else:
            found = self._summaries("AND name = ?", ref.strip())
        if found:
            return found[0]
        raise StoreError(self._unknown(ref))

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
        columns = _GENERATION_COLUMNS
        if not texts:
            columns = columns.replace("prompt_text", "''")
        if not texts or not outputs:
            columns = columns.replace("output", "''")
        first, end = within or (0, 2**62)
        rows = self._all(
            f"SELECT {columns} FROM generation WHERE session_id = ? AND position >= ? AND position < ?"
            " ORDER BY position",
            session_id,
            first,
            end,
        )
        return [GenerationRow(*row) for row in _GENERATION.checked(rows)]

    def prompt_texts(self, session_id: int, within: tuple[int, int] = (0, 2**62)) -> dict[int, str]:
        """What each prompt asks, by its id; those at positions from the one of `within` to before the other."""
        rows = self._all(
            "SELECT id, prompt_text FROM generation WHERE session_id = ? AND position >= ? AND position < ?",
            session_id,
            *within,
        )
        return dict(rows)

    def last_begun(self, session_id: int) -> int:
        """The position of the last prompt that has begun; 0 before any."""
        rows = self._all(
            "SELECT coalesce(max(position), 0) FROM generation WHERE session_id = ? AND status <> 'pending'",
            session_id,
        )
        found: int = rows[0][0]
        return found

    def begun_generations(self, session_id: int, first: int) -> list[GenerationRow]:
        """Prompts from position `first` on that have begun, in order; prompt_text and output are "".

        What a view of a growing session asks for: prompts before that ended, and prompts not begun stay as they are.
        """
        columns = _GENERATION_COLUMNS.replace("prompt_text", "''").replace("output", "''")
        rows = self._all(
            f"SELECT {columns} FROM generation WHERE session_id = ? AND position >= ? AND status <> 'pending'"
            " ORDER BY position",
            session_id,
            first,
        )
        return [GenerationRow(*row) for row in _GENERATION.checked(rows)]

    def generation(self, generation_id: int) -> GenerationRow:
        """One prompt, with its texts. Raises `StoreError` when there is none."""
        rows = self._all(f"SELECT {_GENERATION_COLUMNS} FROM generation WHERE id = ?", generation_id)
        if not rows:
            raise StoreError(f"there is no prompt {generation_id} in the database")
        return GenerationRow(*_GENERATION.checked(rows)[0])

    def output_sample(self, session_id: int, most: int = 1200) -> OutputSample | None:
        """The beginning of the first output of a session; None while it has none."""
        rows = self._all(
            "SELECT task, substr(prompt_text, 1, ?), substr(output, 1, ?) FROM generation"
            " WHERE session_id = ? AND status = 'finished' AND output <> '' ORDER BY position LIMIT 1",
            most,
            most,
            session_id,
        )
        return OutputSample(*rows[0]) if rows else None

    def rounds(self, generation_id: int, after: int = 0, limit: int | None = None) -> list[RoundRow]:
        """Rounds numbered above `after`, ascending, with their nodes; the first `limit` of them."""
        with self._snapshot():
            rounds = self._all(
                f"SELECT {_ROUND_COLUMNS} FROM round WHERE generation_id = ? AND number > ? ORDER BY number LIMIT ?",
                generation_id,
                after,
                -1 if limit is None else limit,
            )
            if not rounds:
                return []
            # Rounds of a generation are numbered without gaps, so the last number bounds the nodes.
            nodes = self._all(
                f"SELECT node.round_id, {_NODE_COLUMNS} FROM round JOIN node ON node.round_id = round.id"
                " WHERE generation_id = ? AND number BETWEEN ? AND ? ORDER BY number, idx",
                generation_id,
                rounds[0][2],
                rounds[-1][2],
            )
        trees = {
            round_id: tuple(NodeRow._make((*row[1:-2], bool(row[-2]), bool(row[-1]))) for row in rows)
            for round_id, rows in groupby(_NODE.checked(nodes), key=lambda row: row[0])
        }
        return [RoundRow(*(*row[:-1], trees.get(row[0], ()), row[-1])) for row in _ROUND.checked(rounds)]

    def tokens(self, tokenizer_id: str, ids: Iterable[int]) -> dict[int, bytes]:
        """Bytes of those tokens that are known."""
        rows = self._all(
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
        with self._snapshot():
            order = self._tasks((session_id, session_id)).get(session_id, {})
            tasks = self._all(f"SELECT {_TASK_COLUMNS} FROM rollup_task WHERE session_id = ?", session_id)
            lengths = self._all(
                "SELECT task, accepted_length, rounds FROM rollup_length WHERE session_id = ?"
                " ORDER BY accepted_length",
                session_id,
            )
            depths = self._all(
                f"SELECT task, {_DEPTH_COLUMNS} FROM rollup_depth WHERE session_id = ? ORDER BY depth",
                session_id,
            )
            cuts = self._all(metrics.CUTS_SQL.format(which="generation.session_id = ?"), session_id)
        rows = (TaskFigures(*(*row, {}, {}, {})) for row in _TASK.checked(tasks))
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
        """Per task, draft entropy by match and draft probability by what became of it; see `store.counts.bins`."""
        rows = self._all("SELECT task, bins FROM rollup_task WHERE session_id = ?", session_id)
        return {task: bins_of(unpacked(blob)) for task, blob in rows}

    def intervals(self, session_id: int, metric: str = "mean_accepted_length") -> dict[str, Interval]:
        """95 % per task of a `metrics.RATIOS` metric, over finished prompts (over all, where none has finished).

        Tasks with fewer than two prompts are left out, and those whose prompts happen to agree.
        """
        from spectui.store.counts.intervals import intervals_by_task

        numerator, denominator = metrics.RATIOS[metric]
        with self._snapshot():
            rows = self._all(
                f"SELECT task, {numerator}, {denominator}, status = 'finished' FROM generation"
                " WHERE session_id = ? AND round_count > 0 ORDER BY position",
                session_id,
            )
            ((depth,),) = self._all("SELECT max(depth) FROM rollup_depth WHERE session_id = ?", session_id)
        return intervals_by_task(rows, metrics.ratio_range(metric, depth or 0))

    def unfinished(self, session_id: int) -> int:
        """How many prompts a resumed run would decode; see `SessionWriter.restart_unfinished`."""
        sql = f"SELECT count(*) FROM generation WHERE session_id = ? AND (status = 'pending' OR {HALF_DONE_SQL})"
        found: int = self._all(sql, session_id)[0][0]
        return found

    def events(self, session_id: int) -> list[EventRow]:
        """What happened to the run, oldest first."""
        rows = self._all(
            "SELECT generation_id, at, kind, text FROM event WHERE session_id = ? ORDER BY id", session_id
        )
        return [EventRow(*row) for row in _EVENT.checked(rows)]

    def model_files(self, session_id: int) -> dict[str, dict[str, str]]:
        """What the models were read from: role -> file -> digest; empty when it was not recorded."""
        ((text,),) = self._all("SELECT model_files FROM session WHERE id = ?", session_id)
        return _object(text, "model files")

    def worker(self, session_id: int) -> Worker | None:
        """The process that is, or was last, at work on a session; None where none has taken it."""
        rows = self._all("SELECT pid, host, worker_place FROM session WHERE id = ?", session_id)
        if not rows or rows[0][0] is None:
            return None
        pid, host, place = rows[0]
        here = is_here(host, place)
        found = read_whereabouts(place)
        return Worker(pid, host, here, here and stopped(pid), found.here is True and found.alive(pid) is True)

    def pending_commands(self, session_id: int) -> list[str]:
        """Commands the worker has not taken yet, oldest first."""
        rows = self._all(
            "SELECT kind FROM command WHERE session_id = ? AND taken_at IS NULL ORDER BY id", session_id
        )
        return [kind for (kind,) in rows]

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        """Reads in the block are all of one state, whatever a worker commits meanwhile."""
        with self._snapshot():
            yield

    def scan(
        self, sql: str, *parameters: int | str | None, chunk: int = 50_000
    ) -> Iterator[list[tuple[Any, ...]]]:
        """Rows of a long read, `chunk` at a time, for the other modules of the store; call within `snapshot`."""
        with self._lock, explained(None, self._connection):
            cursor = self._connection.execute(sql, parameters)
            while rows := cursor.fetchmany(chunk):
                yield rows

    def _summaries(
        self, narrowed: str, *parameters: int | str, newest: int | None = None
    ) -> list[SessionSummary]:
        with self._snapshot():
            sessions = self._all(
                f"SELECT {_SESSION_COLUMNS} FROM session WHERE deleted_at IS NULL {narrowed} ORDER BY id DESC LIMIT ?",
                *parameters,
                -1 if newest is None else newest,
            )
            few = sessions and (newest is not None or len(sessions) == 1)
            span = (sessions[-1][0], sessions[0][0]) if few else None
            tasks = self._tasks(span)
            where, ids = _within(span)
            done = {
                owner: (ended, failed)
                for owner, ended, failed in self._all(
                    "SELECT session_id, sum(status IN ('finished', 'skipped', 'failed')), sum(status = 'failed')"
                    f" FROM generation {where} GROUP BY session_id",
                    *ids,
                )
            }
            totals = ", ".join(f"sum({name})" for name in _SUM_NAMES)
            rows = self._all(
                f"SELECT session_id, {totals} FROM rollup_task {where} GROUP BY session_id", *ids
            )
            sums = {row[0]: row[1:] for row in rows}
            pruned = dict(
                self._all(
                    "SELECT session_id, count(*) FROM pruned JOIN generation ON generation.id = generation_id"
                    f" {where} GROUP BY session_id",
                    *ids,
                )
            )
        none = (0, 0, 0, 0.0, 0.0, 0.0, 0, 0, 0)
        return [
            _summary(
                row,
                done.get(row[0], (0, 0)),
                tasks.get(row[0], {}),
                sums.get(row[0], none),
                pruned.get(row[0], 0),
                self._file,
            )
            for row in _SESSION.checked(sessions)
        ]

    def _tasks(self, span: tuple[int, int] | None) -> dict[int, dict[str, int]]:
        """Session -> task -> prompts, tasks in the order in which they first appear."""
        where, ids = _within(span)
        found: dict[int, dict[str, int]] = {}
        for owner, task, prompts, _ in self._all(
            f"SELECT session_id, task, count(*), min(position) AS first FROM generation {where}"
            " GROUP BY session_id, task ORDER BY session_id, first",
            *ids,
        ):
            found.setdefault(owner, {})[task] = prompts
        return found

    def _unknown(self, ref: int | str) -> str:
        names = [
            name
            for (name,) in self._all("SELECT name FROM session WHERE deleted_at IS NULL ORDER BY id DESC")
        ]
        if not names:
            return "there are no sessions yet; 'spectui run' makes one"
        close = difflib.get_close_matches(str(ref), names, n=3, cutoff=0.5) or names[:3]
        return f"there is no session '{ref}'; did you mean {' or '.join(close)}?"

    @contextmanager
    def _snapshot(self) -> Iterator[None]:
        """Several reads of one state, so that what a writer commits between them does not tear a view."""
        with self._lock, explained(None, self._connection):
            if self._connection.in_transaction:
                yield
                return
            self._all("BEGIN")
            try:
                yield
            finally:
                if self._connection.in_transaction:
                    self._connection.execute("COMMIT")

    def _all(self, sql: str, *parameters: int | str | None) -> list[tuple[Any, ...]]:
        with self._lock, explained(None, self._connection):
            return self._connection.execute(sql, parameters).fetchall()


@lru_cache(maxsize=256)  # sessions have much in common, and a list of thousands is read at once
def _object(text: Any, what: str) -> dict[str, Any]:
    """What a column of JSON holds, never to be changed. Raises `StoreError` for what we did not write."""
    try:
        found = json.loads(text)
    except (ValueError, TypeError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise StoreError(f"the database is damaged: a session's {what} cannot be read; restore a copy of it")
    return found


def _within(span: tuple[int, int] | None) -> tuple[str, tuple[int, ...]]:
    """A WHERE clause for sessions from one id to another or, for None, for all of them, and its parameters."""
    return ("", ()) if span is None else ("WHERE session_id BETWEEN ? AND ?", span)


def _summary(
    row: tuple[Any, ...],
    done: tuple[int, int],
    tasks: dict[str, int],
    sums: tuple[Any, ...],
    pruned: int,
    file: FileIdentity | None,
) -> SessionSummary:
    columns = dict(zip(_SESSION_NAMES, row, strict=True))
    totals = dict(zip(_SUM_NAMES, sums, strict=True))
    recorded = columns.pop("status")
    matches, at_risk, accepted = (
        totals.pop(name) for name in ("match_count", "at_risk_count", "accepted_count")
    )
    columns["config"] = _object(columns["config"], "configuration")
    columns["versions"] = _object(columns["versions"], "versions")
    columns["tags"] = split_tags(columns["tags"])
    for name in ("gpu", "costs"):
        if columns[name] is not None:
            columns[name] = _object(columns[name], name)
    worker = {name: columns[name] for name in WORKER_COLUMNS}
    del columns["worker_place"]
    status = effective_status(recorded, **worker, file=file)
    return SessionSummary(
        **columns,
        **totals,
        pruned=pruned,
        status=status,
        recorded_status=recorded,
        silent_seconds=silent_seconds(status, **worker),
        prompts_done=done[0],
        prompts_failed=done[1],
        tasks=tasks,
        match_rate=metrics.match_rate(matches, totals["nodes"]),
        accepted_at_risk=metrics.accepted_at_risk(accepted, at_risk),
        mean_accepted_length=metrics.mean_accepted_length(accepted, totals["rounds"]),
        tokens_per_round=metrics.tokens_per_round(totals["tokens"], totals["rounds"]),
    )
