"""Comparison of the objects of a file with those that our steps make, before any SQL of the file could run.

Triggers, views, generated columns, checks and defaults are SQL that SQLite runs when a table is read or
written. So a file is taken for one of ours only when every object in it is one that its own migrations make.
"""

from __future__ import annotations

import re
import sqlite3
from collections import Counter
from contextlib import closing
from functools import cache, lru_cache
from pathlib import Path
from typing import NamedTuple

from spectui.store.errors import StoreError
from spectui.store.schema.steps import MIGRATION_SET, MIGRATIONS_TABLE, STEPS

_MOST = 1000
"""Rows to read; a file of ours has far fewer, and one that was made for it may hold millions."""
_OBJECTS = f"SELECT type, name, tbl_name, sql FROM sqlite_master LIMIT {_MOST}"
_KINDS = ("table", "index", "view", "trigger")
_SHOWN = 60
"""Characters of a foreign name in a message."""


class _Object(NamedTuple):
    kind: str
    name: str
    table: str
    tokens: tuple[str, ...] | None
    """The tokens of its SQL; None for what SQLite makes by itself."""


_TOKEN = re.compile(
    r"""(?P<space>\s+|--[^\n]*|/\*.*?(?:\*/|\Z))
    |(?P<quoted>'(?:[^']|'')*'|"(?:[^"]|"")*"|`(?:[^`]|``)*`|\[[^\]]*\])
    |(?P<word>\w+)
    |(?P<other>.)""",
    re.VERBOSE | re.DOTALL | re.ASCII,
)

# What sqlite-utils makes differs between its versions, so it is known by its form: names, types and keys, but
# nothing that could be computed.
_NAME = r"""["'`\[]?\w+["'`\]]?"""
_PLAIN_TABLE = re.compile(
    rf"CREATE TABLE {_NAME} \( {_NAME} (?:INTEGER|TEXT)(?: NOT NULL| PRIMARY KEY)*"
    rf"(?: , {_NAME} (?:INTEGER|TEXT)(?: NOT NULL| PRIMARY KEY)*)*"
    rf"(?: , PRIMARY KEY \( {_NAME}(?: , {_NAME})* \))? \)(?: STRICT)?"
)
_PLAIN_INDEX = re.compile(rf"CREATE UNIQUE INDEX {_NAME} ON {_NAME} \( {_NAME}(?: , {_NAME})* \)")

_OF_SQLITE = {
    "sqlite_sequence": "( name , seq )",
    "sqlite_stat1": "( tbl , idx , stat )",
    "sqlite_stat4": "( tbl , idx , neq , nlt , ndlt , sample )",
}
"""Tables that SQLite adds, to count and after ANALYZE; plain SQL cannot make one of such a name."""


def examine(connection: sqlite3.Connection, path: Path) -> bool:
    """True when the file lacks steps of ours; the first question to any connection.

    Raises `StoreError` when the file is of another program or a newer spectui, and when it holds anything that
    the steps it has do not make.
    """
    objects = [
        _Object(str(kind), str(name), str(table), None if sql is None else _tokens(str(sql)))
        for kind, name, table, sql in connection.execute(_OBJECTS).fetchall()
    ]
    if not any(each.kind == "table" and each.name == MIGRATIONS_TABLE for each in objects):
        raise StoreError(f"{path} is a database of another program; give another --db")
    foreign = [each for each in objects if not _of_the_library(each)]
    if any(each.name == MIGRATIONS_TABLE for each in foreign):
        raise _refused(path, "table", MIGRATIONS_TABLE)
    applied = _applied(connection, path)
    try:
        expected = _made_by(tuple(applied))
    except sqlite3.Error as error:
        raise StoreError(
            f"database {path} lacks some of its migrations; restore a copy of it, or give another --db"
        ) from error
    _compare(Counter(foreign), expected, path)
    return len(applied) < len(STEPS)


def _applied(connection: sqlite3.Connection, path: Path) -> list[str]:
    """The steps that the file has, in the order in which it got them."""
    try:
        rows = connection.execute(
            f"SELECT name FROM {MIGRATIONS_TABLE} WHERE migration_set = ? ORDER BY rowid LIMIT {_MOST}",
            [MIGRATION_SET],
        ).fetchall()
    except sqlite3.OperationalError as error:
        if "no such column" not in str(error):
            raise
        raise _refused(path, "table", MIGRATIONS_TABLE) from error
    applied = [str(name) for (name,) in rows]
    unknown = sorted(set(applied).difference(name for name, _ in STEPS))
    if unknown:
        raise StoreError(
            f"database {path} is of a newer spectui (it has {unknown[-1][:_SHOWN]}); upgrade spectui or give"
            " another --db"
        )
    return applied


def _compare(objects: Counter[_Object], expected: Counter[_Object], path: Path) -> None:
    surplus, missing = objects - expected, expected - objects
    names = {(each.kind, each.name) for each in missing}
    for each in surplus:
        raise _refused(path, each.kind, each.name, ours=(each.kind, each.name) in names)
    for each in missing:
        raise StoreError(
            f"database {path} lacks the {each.kind} '{each.name}'; restore a copy of it, or give another --db"
        )


def _refused(path: Path, kind: str, name: str, *, ours: bool = True) -> StoreError:
    what = f"{kind if kind in _KINDS else 'object'} '{name[:_SHOWN]}'"
    if ours:
        return StoreError(
            f"the {what} in database {path} is not as spectui makes it, and could run SQL when it is used;"
            " restore a copy, or give another --db"
        )
    return StoreError(
        f"database {path} has a {what} that spectui did not make, and whose SQL could run;"
        " drop it with sqlite3 if you trust the file, or give another --db"
    )


def _of_the_library(each: _Object) -> bool:
    """True for objects that SQLite or sqlite-utils make for themselves and that have nothing to run."""
    sql = "" if each.tokens is None else " ".join(each.tokens)
    if each.kind == "table" and each.name in _OF_SQLITE:
        return sql == f"CREATE TABLE {each.name} {_OF_SQLITE[each.name]}".upper() and each.table == each.name
    if each.table != MIGRATIONS_TABLE:
        return False
    if each.kind == "table":
        return each.name == each.table and _PLAIN_TABLE.fullmatch(sql) is not None
    if each.tokens is None:
        return each.kind == "index" and each.name.startswith("sqlite_autoindex_")
    return each.kind == "index" and _PLAIN_INDEX.fullmatch(sql) is not None


@cache
def _made_by(names: tuple[str, ...]) -> Counter[_Object]:
    """The objects of an empty file after the steps of these names; a few milliseconds."""
    steps = dict(STEPS)
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        for name in names:
            for statement in steps[name]:
                connection.execute(statement)
        return Counter(
            _Object(kind, name, table, None if sql is None else _tokens(sql))
            for kind, name, table, sql in connection.execute(_OBJECTS).fetchall()
        )


@lru_cache(maxsize=256)
def _tokens(sql: str) -> tuple[str, ...]:
    """The words of a statement, capital where SQLite ignores case, without layout and comments."""
    return tuple(
        token.group() if token.lastgroup == "quoted" else token.group().upper()
        for token in _TOKEN.finditer(sql)
        if token.lastgroup != "space"
    )
