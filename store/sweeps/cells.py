"""The cells of a sweep, and how far it is: one session each, whatever became of it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from spectui.store.clock import now
from spectui.store.database import Connection, raw
from spectui.store.errors import StoreError
from spectui.store.labels import check_name
from spectui.store.reading.reader import Reader
from spectui.store.rows import SessionSummary
from spectui.store.sqlite.transactions import transaction

PROMPTS_OF = "prompts of "
"""Prefix of the options that are a digest of a task's prompts: a sweep may have other tasks the next time."""


@dataclass(frozen=True)
class Cell:
    """One combination of a sweep."""

    draft: str
    """As ``--draft`` takes it."""
    tree: str
    """As ``--tree`` takes it; "" where the run chooses it."""
    temperature: float
    task: str

    def to_json(self) -> str:
        """One text for each cell, by which its session is found again."""
        return json.dumps(asdict(self), sort_keys=True)

    @property
    def words(self) -> str:
        """``code: eagle, chain:3, temperature 0``."""
        return f"{self.task}: {self.draft}, {self.tree or 'auto'}, temperature {self.temperature:g}"


def read_cell(text: str) -> Cell:
    """The inverse of `Cell.to_json`. Raises `StoreError` for any other text."""
    try:
        data: dict[str, Any] = json.loads(text)
        cell = Cell(str(data["draft"]), str(data["tree"]), float(data["temperature"]), str(data["task"]))
    except (ValueError, TypeError, KeyError, RecursionError):
        raise StoreError(
            "the database is damaged: a cell of a sweep cannot be read; restore a copy of it"
        ) from None
    return cell


@dataclass(frozen=True)
class Sweep:
    """A sweep, as far as it is."""

    id: int
    name: str
    cells: tuple[Cell, ...]
    sessions: Mapping[Cell, int]
    """Those that have been begun."""
    done: frozenset[Cell]
    """Those whose session has ended with all of its prompts."""
    running: frozenset[Cell]
    share: float
    """Of all cells, each weighing the same, by the prompts that are done."""

    @property
    def complete(self) -> bool:
        """True when every cell is done."""
        return len(self.done) == len(self.cells)

    @property
    def words(self) -> str:
        """``sweep drafters: 5 of 12 sessions, 43 %``."""
        return f"sweep {self.name}: {len(self.done)} of {len(self.cells)} sessions, {self.share:.0%}".replace(
            "%", " %"
        )


def begin_sweep(db: Connection, name: str, cells: Sequence[Cell], options: Mapping[str, Any]) -> int:
    """Insert a sweep, or go on with the one of that name; returns its id.

    Its cells may have become others. Raises `StoreError` where it was begun with other `options`, for then its sessions
    are none to compare with new ones.
    """
    name = check_name(name)
    connection = raw(db)
    texts = json.dumps([cell.to_json() for cell in cells])
    with transaction(connection):
        row = connection.execute("SELECT id, options FROM sweep WHERE name = ?", (name,)).fetchone()
        if row is None:
            sweep_id = connection.execute(
                "INSERT INTO sweep (name, cells, options, created_at) VALUES (?, ?, ?, ?)",
                (name, texts, json.dumps(dict(options)), now()),
            ).lastrowid
            assert sweep_id is not None
            return sweep_id
        begun: dict[str, Any] = json.loads(row[1])
        differing = [
            f"{key} was {_shown(begun.get(key))} and is {_shown(options.get(key))}"
            for key in dict.fromkeys((*begun, *options))
            if begun.get(key) != options.get(key)
            and ((key in begun and key in options) or not key.startswith(PROMPTS_OF))
        ]
        has_sessions = connection.execute(
            "SELECT 1 FROM session WHERE sweep_id = ? AND deleted_at IS NULL", (row[0],)
        ).fetchone()
        if differing and has_sessions:
            raise StoreError(
                f"sweep '{name}' was begun with other settings ({'; '.join(differing)}); give this one another name"
            )
        connection.execute(
            "UPDATE sweep SET cells = ?, options = ? WHERE id = ?", (texts, json.dumps(dict(options)), row[0])
        )
        return int(row[0])


def sweeps(reader: Reader, known: Iterable[SessionSummary] | None = None) -> list[Sweep]:
    """All sweeps, the newest first; `known` are the sessions where they have been read. Raises `StoreError`."""
    with reader.snapshot():
        rows = reader.fetch("SELECT id, name, cells FROM sweep ORDER BY id DESC")
        if not rows:
            return []
        sessions = reader.sessions() if known is None else known
        begun: dict[int, dict[Cell, SessionSummary]] = {}
        for each in sessions:
            if each.sweep_id is not None and each.cell is not None:
                begun.setdefault(each.sweep_id, {})[read_cell(each.cell)] = each
    return [_sweep(sweep_id, name, cells, begun.get(sweep_id, {})) for sweep_id, name, cells in rows]


def sweep_named(reader: Reader, name: str) -> Sweep:
    """The sweep of that name. Raises `StoreError`, with those that there are, for none."""
    every = sweeps(reader)
    for each in every:
        if each.name == name:
            return each
    names = ", ".join(each.name for each in every)
    raise StoreError(
        f"there is no sweep '{name}'; {f'there are {names}' if names else 'spectui sweep FILE runs one'}"
    )


def _sweep(sweep_id: int, name: str, cells: str, begun: Mapping[Cell, SessionSummary]) -> Sweep:
    try:
        wanted = tuple(read_cell(each) for each in json.loads(cells))
    except (ValueError, TypeError):
        raise StoreError(
            "the database is damaged: a sweep's cells cannot be read; restore a copy of it"
        ) from None
    sessions = {cell: begun[cell] for cell in wanted if cell in begun}
    shares = [
        1.0 if each.status == "finished" else each.prompts_done / max(each.prompt_count, 1)
        for each in sessions.values()
    ]
    return Sweep(
        sweep_id,
        name,
        wanted,
        {cell: each.id for cell, each in sessions.items()},
        frozenset(cell for cell, each in sessions.items() if each.status == "finished"),
        frozenset(cell for cell, each in sessions.items() if each.live),
        sum(shares) / max(len(wanted), 1),
    )


def _shown(value: Any) -> str:
    return "not set" if value in (None, "") else str(value)
