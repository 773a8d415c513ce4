"""Session summaries: each session's row, with its rollups and the state of its worker."""

from __future__ import annotations

import difflib
import json
from functools import lru_cache
from typing import Any

from spectui.store.counts import metrics
from spectui.store.counts.sums import TIMES, whole
from spectui.store.errors import StoreError
from spectui.store.labels import split_tags
from spectui.store.liveness import WORKER_COLUMNS, effective_status, silent_seconds
from spectui.store.reading.devices import several_devices
from spectui.store.reading.queries import Queries
from spectui.store.rows import SessionSummary
from spectui.store.sources import Server
from spectui.store.sqlite.typed import Typed, declared
from spectui.store.whereabouts import FileIdentity

_SESSION_COLUMNS = (
    "id, name, status, stage, stage_done, stage_total, stage_unit, pid, pid_created, host, heartbeat_at, created_at,"
    " started_at, ended_at, config, target, drafter, tree, device, tokenizer_id, versions, notes, tags, error,"
    " prompt_count, baseline_ms, cpu_percent, rss_bytes, gpu, log_path, costs, energy_joules, energy_seconds,"
    " round_at, worker_place, baseline_low_ms, baseline_high_ms, baseline_count, source, server, shard, sweep_id, cell,"
    " greedy_rounds, explained_rounds, unexplained_round_id"
)
_SESSION_SUMS = (
    "tokens, rounds, nodes, draft_ms, verify_ms, other_ms, match_count, at_risk_count, accepted_count,"
    " unjudged_count"
)
_SESSION_NAMES, _SUM_NAMES = _SESSION_COLUMNS.split(", "), _SESSION_SUMS.split(", ")
_OF_ONE_CLASS = (
    "baseline_ms",
    "baseline_low_ms",
    "baseline_high_ms",
    "costs",
    "energy_joules",
    "energy_seconds",
)
_SESSION = Typed(
    "a session",
    {
        name: "str" if name in ("tags", "worker_place") else declared(SessionSummary)[name]
        for name in _SESSION_NAMES
    },
    finite=True,
)


def summaries(
    queries: Queries, narrowed: str, *parameters: int | str, newest: int | None = None
) -> list[SessionSummary]:
    """Sessions that the condition `narrowed` leaves, or so many of them, the newest first."""
    with queries.snapshot():
        sessions = queries.fetch(
            f"SELECT {_SESSION_COLUMNS} FROM session WHERE deleted_at IS NULL {narrowed} ORDER BY id DESC LIMIT ?",
            *parameters,
            -1 if newest is None else newest,
        )
        few = sessions and (newest is not None or len(sessions) == 1)
        span = (sessions[-1][0], sessions[0][0]) if few else None
        tasks = task_counts(queries, span)
        where, ids = _within(span)
        done = {
            owner: (ended, failed)
            for owner, ended, failed in queries.fetch(
                "SELECT session_id, sum(status IN ('finished', 'skipped', 'failed')), sum(status = 'failed')"
                f" FROM generation {where} GROUP BY session_id",
                *ids,
            )
        }
        totals = ", ".join(whole(name) if name in TIMES else f"sum({name})" for name in _SUM_NAMES)
        rows = queries.fetch(
            f"SELECT session_id, {totals} FROM rollup_task {where} GROUP BY session_id", *ids
        )
        sums = {row[0]: row[1:] for row in rows}
        pruned = dict(
            queries.fetch(
                "SELECT session_id, count(*) FROM pruned JOIN generation ON generation.id = generation_id"
                f" {where} GROUP BY session_id",
                *ids,
            )
        )
        several = several_devices(queries)
    none = (0, 0, 0, 0.0, 0.0, 0.0, 0, 0, 0, 0)
    return [
        _summary(
            row,
            done.get(row[0], (0, 0)),
            tasks.get(row[0], {}),
            sums.get(row[0], none),
            pruned.get(row[0], 0),
            several.get(row[0], 1),
            queries.file,
        )
        for row in _SESSION.checked(sessions)
    ]


def task_counts(queries: Queries, span: tuple[int, int] | None) -> dict[int, dict[str, int]]:
    """Session -> task -> prompts, tasks in the order in which they first appear."""
    where, ids = _within(span)
    counts: dict[int, dict[str, int]] = {}
    for owner, task, prompts, _ in queries.fetch(
        f"SELECT session_id, task, count(*), min(position) AS first FROM generation {where}"
        " GROUP BY session_id, task ORDER BY session_id, first",
        *ids,
    ):
        counts.setdefault(owner, {})[task] = prompts
    return counts


def explain_missing(queries: Queries, ref: int | str) -> str:
    """One line on a session that is not there, with the names closest to `ref`."""
    names = [
        name
        for (name,) in queries.fetch("SELECT name FROM session WHERE deleted_at IS NULL ORDER BY id DESC")
    ]
    if not names:
        return "there are no sessions yet; 'spectui run' makes one"
    close = difflib.get_close_matches(str(ref), names, n=3, cutoff=0.5) or names[:3]
    return f"there is no session '{ref}'; did you mean {' or '.join(close)}?"


@lru_cache(maxsize=256)  # sessions have much in common, and a list of thousands is read at once
def json_object(text: Any, what: str) -> dict[str, Any]:
    """A column's JSON object, never to be changed. Raises `StoreError` for anything else."""
    try:
        value = json.loads(text)
    except (ValueError, TypeError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise StoreError(f"the database is damaged: a session's {what} cannot be read; restore a copy of it")
    return value


def _within(span: tuple[int, int] | None) -> tuple[str, tuple[int, ...]]:
    """A WHERE clause for sessions from one id to another or, for None, for all of them, and its parameters."""
    return ("", ()) if span is None else ("WHERE session_id BETWEEN ? AND ?", span)


def _summary(
    row: tuple[Any, ...],
    done: tuple[int, int],
    tasks: dict[str, int],
    sums: tuple[Any, ...],
    pruned: int,
    devices: int,
    file: FileIdentity | None,
) -> SessionSummary:
    columns = dict(zip(_SESSION_NAMES, row, strict=True))
    totals = dict(zip(_SUM_NAMES, sums, strict=True))
    recorded = columns.pop("status")
    matches, at_risk, accepted, unjudged = (
        totals.pop(name) for name in ("match_count", "at_risk_count", "accepted_count", "unjudged_count")
    )
    columns["config"] = json_object(columns["config"], "configuration")
    columns["versions"] = json_object(columns["versions"], "versions")
    columns["tags"] = split_tags(columns["tags"])
    for name in ("gpu", "costs", "shard"):
        if columns[name] is not None:
            columns[name] = json_object(columns[name], name)
    if columns["server"] is not None:
        columns["server"] = Server.from_dict(json_object(columns["server"], "server"))
    if devices > 1:  # times of different classes are nothing together
        columns |= dict.fromkeys(_OF_ONE_CLASS) | {"baseline_count": 0}
        totals |= dict.fromkeys(TIMES)
    worker = {name: columns[name] for name in WORKER_COLUMNS}
    del columns["worker_place"]
    status = effective_status(recorded, **worker, file=file)
    return SessionSummary(
        **columns,
        **totals,
        pruned=pruned,
        devices=devices,
        status=status,
        recorded_status=recorded,
        silent_seconds=silent_seconds(status, **worker),
        prompts_done=done[0],
        prompts_failed=done[1],
        tasks=tasks,
        match_rate=metrics.match_rate(matches, totals["nodes"], unjudged),
        accepted_at_risk=metrics.accepted_at_risk(accepted, at_risk),
        mean_accepted_length=metrics.mean_accepted_length(accepted, totals["rounds"]),
        tokens_per_round=metrics.tokens_per_round(totals["tokens"], totals["rounds"]),
    )
