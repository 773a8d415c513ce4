"""Check of a database: the file, every tree and path, every count against a recount from the nodes.

All per-node work is SQL. A check reads one snapshot, so it may run while a worker writes.
"""

from __future__ import annotations

import sqlite3

from spectui.store.counts.bins import unpack
from spectui.store.counts.recount import Key, Recount, Sums, recount, tables
from spectui.store.counts.sums import GENERATION_SUMS
from spectui.store.database import Connection, raw
from spectui.store.errors import StoreError
from spectui.store.reading.queries import Queries
from spectui.store.records import NODE_TYPES, UNKNOWN_TOKEN
from spectui.store.sqlite.typed import UNSOUND

_MOST_OF_A_KIND = 5
"""Problems of one kind that are listed before the rest are counted."""

_TOLERANCE = 1e-6
"""Relative, for sums of floats: their order differs between counting as one goes and a recount."""

_RANGES = {
    "Probability": "BETWEEN 0 AND 1.00001",
    "Nats": ">= -0.00001",
    "bool": "IN (0, 1)",
}
"""Declared type of a column of node -> the values that it may have; the others are checked above."""
_IN_RANGE = [
    f'coalesce("{name}", 0) {_RANGES[kind]}'
    for name, declared in NODE_TYPES.items()
    if (kind := declared.removesuffix(" | None")) in _RANGES
]

_ROUND_CHECKS = (
    (
        "its node count is not that of its nodes, or they are not numbered from 0",
        """
        SELECT r.id FROM round AS r
        LEFT JOIN (SELECT round_id, count(*) AS n, min(idx) AS low, max(idx) AS high FROM node GROUP BY round_id) AS t
            ON t.round_id = r.id
        WHERE r.node_count != coalesce(t.n, 0) OR (t.n IS NOT NULL AND (t.low != 0 OR t.high != t.n - 1))
        """,
        False,
    ),
    (
        "a node's parent does not come before it, or its depth is not one more than its parent's",
        """
        SELECT DISTINCT n.round_id FROM node AS n
        LEFT JOIN node AS p ON p.round_id = n.round_id AND p.idx = n.parent
        WHERE CASE WHEN n.parent IS NULL THEN n.depth != 1
                   ELSE p.idx IS NULL OR p.idx >= n.idx OR n.depth != p.depth + 1 END
        """,
        True,
    ),
    (
        "siblings are not ranked 0, 1, ..., or two have one token, or two are the target's argmax",
        f"""
        SELECT DISTINCT round_id FROM (
            SELECT round_id FROM node GROUP BY round_id, parent
            HAVING min(rank) != 0 OR max(rank) != count(*) - 1 OR count(DISTINCT rank) != count(*)
                OR count(DISTINCT nullif(token_id, {UNKNOWN_TOKEN})) != count(nullif(token_id, {UNKNOWN_TOKEN}))
                OR sum("match") > 1
        )
        """,
        False,
    ),
    (
        "its accepted nodes are not a path from the root of the accepted length",
        # One a depth, each below an accepted one (or the root), as many as the length says.
        """
        SELECT r.id FROM round AS r LEFT JOIN (
            SELECT n.round_id, count(*) AS n, count(DISTINCT n.depth) AS depths,
                   sum(n.parent IS NOT NULL AND NOT coalesce(p.accepted, 0)) AS loose
            FROM node AS n LEFT JOIN node AS p ON p.round_id = n.round_id AND p.idx = n.parent
            WHERE n.accepted GROUP BY n.round_id
        ) AS t ON t.round_id = r.id
        WHERE coalesce(t.n, 0) != r.accepted_length OR t.n != t.depths OR t.loose != 0
        """,
        True,
    ),
    (
        "a node has a value out of range",
        f"SELECT DISTINCT round_id FROM node WHERE NOT ({' AND '.join(_IN_RANGE)})",
        True,
    ),
    (
        "it does not continue the round before it",
        """
        SELECT id FROM (
            SELECT id, number, prefix_length,
                   lag(number, 1, 0) OVER run AS before,
                   lag(prefix_length + accepted_length + (bonus_token_id IS NOT NULL)) OVER run AS reached
            FROM round WINDOW run AS (PARTITION BY generation_id ORDER BY number)
        )
        WHERE number != before + 1 OR prefix_length != reached
        """,
        True,
    ),
)
"""A problem of a round, SQL for the ids of the rounds that have it, and whether it can be seen of a
pruned one, of which the committed path alone is left."""

_UNEVEN_BLOCKS = """
    SELECT s.name, g.position FROM generation AS g JOIN session AS s ON s.id = g.session_id JOIN (
        SELECT generation_id, max(last) AS last, sum(rounds) AS rounds, sum(tokens) AS tokens,
               sum(accepted_count) AS accepted
        FROM rollup_block GROUP BY generation_id
    ) AS b ON b.generation_id = g.id
    WHERE b.last > g.round_count OR b.last = g.round_count
        AND (b.rounds != g.round_count OR b.tokens != g.token_count OR b.accepted != g.accepted_count)
"""
"""A prompt whose rounds are all in blocks, and whose blocks say something else than its own counts."""


def check(db: Connection) -> list[str]:
    """Problems of a database, one line each; none when it is sound.

    Raises `StoreError` only when the file cannot be read at all.
    """
    connection = raw(db)
    try:
        with Queries(db).snapshot():
            try:
                return _check_file(connection) or [*_check_rounds(connection), *_check_counts(connection)]
            except UNSOUND as error:
                return [f"the file holds values that spectui does not write: {type(error).__name__}: {error}"]
    except StoreError as error:
        if isinstance(error.__cause__, sqlite3.DatabaseError | UnicodeDecodeError) and "is damaged" in str(
            error
        ):
            return [str(error)]
        raise


def check_counts(db: Connection) -> list[str]:
    """As `check`, of sums and rollups alone. Raises `StoreError` when the file cannot be read."""
    with Queries(db).snapshot():
        return _check_counts(raw(db))


def _check_file(connection: sqlite3.Connection) -> list[str]:
    damage = [
        f"the file is damaged: {message}"
        for (message,) in connection.execute(f"PRAGMA integrity_check({_MOST_OF_A_KIND})")
        if message != "ok"
    ]
    if damage:
        return damage
    orphans = connection.execute("PRAGMA foreign_key_check").fetchall()
    return _listed([f"a row of {table} belongs to no row of {parent}" for table, _, parent, _ in orphans])


def _check_rounds(connection: sqlite3.Connection) -> list[str]:
    problems: list[str] = []
    for problem, sql, of_pruned in _ROUND_CHECKS:
        where = "s.deleted_at IS NULL"
        if not of_pruned:
            where += " AND g.id NOT IN (SELECT generation_id FROM pruned)"
        rows = connection.execute(
            "SELECT s.name, g.position, r.number FROM round AS r JOIN generation AS g ON g.id = r.generation_id"
            f" JOIN session AS s ON s.id = g.session_id WHERE {where} AND r.id IN ({sql}) ORDER BY r.id"
        ).fetchall()
        problems += _listed(
            [
                f"session '{name}', prompt {position + 1}, round {number}: {problem}"
                for name, position, number in rows
            ]
        )
    return problems


def _check_counts(connection: sqlite3.Connection) -> list[str]:
    try:
        counted = recount(connection)
    except StoreError as error:
        return [str(error)]
    names = dict(connection.execute("SELECT id, name FROM session WHERE deleted_at IS NULL").fetchall())
    problems: list[str] = []
    stored = _stored(connection, "generation", ("id",), GENERATION_SUMS)
    where: dict[Key, str] = {
        (row[0],): f"session '{names.get(row[1])}', prompt {row[2] + 1}"
        for row in connection.execute("SELECT id, session_id, position FROM generation")
        if row[1] in names
    }
    stored = {key: sums for key, sums in stored.items() if key in where}
    problems += _listed(
        [f"{where[key]}: {problem}" for key, problem in _differences(stored, counted.generations)]
    )
    for table, keys, rows in tables(counted):
        columns = tuple(next(iter(rows.values()))) if rows else ()
        stored = {k: v for k, v in _stored(connection, table, keys, columns).items() if k[0] in names}
        problems += _listed(
            [
                f"session '{names.get(key[0])}', {table} of {', '.join(str(part) for part in key[1:])}: {problem}"
                for key, problem in _differences(stored, rows)
            ]
        )
    problems += _listed(
        [
            f"session '{names.get(session)}', rollup_task of {task}: {wrong}"
            for (session, task), wrong in _bins(connection, counted)
        ]
    )
    wrong = connection.execute(
        "SELECT name FROM session WHERE deleted_at IS NULL AND (greedy_rounds, explained_rounds) != ("
        " SELECT count(explained), coalesce(sum(explained), 0) FROM generation"
        " JOIN round ON round.generation_id = generation.id WHERE session_id = session.id)"
    ).fetchall()
    problems += _listed(
        [f"session '{name}': its count of explained rounds is not that of its rounds" for (name,) in wrong]
    )
    wrong = connection.execute(
        "SELECT name FROM session"
        " WHERE deleted_at IS NULL"
        " AND prompt_count != (SELECT count(*) FROM generation WHERE session_id = session.id)"
    ).fetchall()
    problems += _listed(
        [f"session '{name}': its prompt count is not that of its prompts" for (name,) in wrong]
    )
    uneven = connection.execute(_UNEVEN_BLOCKS).fetchall()
    return problems + _listed(
        [
            f"session '{name}', prompt {position + 1}: its blocks of rounds do not add up to its counts"
            for name, position in uneven
        ]
    )


def _bins(connection: sqlite3.Connection, counted: Recount) -> list[tuple[tuple[int, str], str]]:
    """Tasks whose bins are not those of their nodes."""
    return [
        ((session, task), "its bins are not those of its nodes")
        for session, task, blob in connection.execute(
            "SELECT session_id, task, bins FROM rollup_task"
            " WHERE session_id NOT IN (SELECT id FROM session WHERE deleted_at IS NOT NULL)"
        )
        if unpack(blob) != counted.bins.get((session, task), unpack())
    ]


def _stored(
    connection: sqlite3.Connection, table: str, keys: tuple[str, ...], columns: tuple[str, ...]
) -> dict[Key, Sums]:
    rows = connection.execute(f"SELECT {', '.join((*keys, *columns))} FROM {table}")
    return {tuple(row[: len(keys)]): dict(zip(columns, row[len(keys) :], strict=True)) for row in rows}


def _differences(stored: dict[Key, Sums], counted: dict[Key, Sums]) -> list[tuple[Key, str]]:
    differing: list[tuple[Key, str]] = []
    for key in sorted(stored.keys() | counted.keys()):
        if key not in stored:
            differing.append((key, "the row is missing"))
        elif key not in counted:
            differing.append((key, "nothing recorded belongs to the row"))
        else:
            differing += [
                (key, f"{column} is {stored[key][column]}, a recount gives {value}")
                for column, value in counted[key].items()
                if _differ(stored[key][column], value)
            ]
    return differing


def _differ(stored: float | None, counted: float | None) -> bool:
    if stored is None or counted is None:
        return stored is not counted
    return abs(stored - counted) > _TOLERANCE * max(1.0, abs(counted))


def _listed(problems: list[str]) -> list[str]:
    rest = len(problems) - _MOST_OF_A_KIND
    return problems if rest <= 0 else [*problems[:_MOST_OF_A_KIND], f"{rest} more of that kind"]
