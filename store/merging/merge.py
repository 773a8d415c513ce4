"""The merged session, written through the ordinary writer, so that every count is made as it is made in a run."""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from spectui.store.care.check import check
from spectui.store.database import connect
from spectui.store.errors import StoreError
from spectui.store.files import check_free, held_draft
from spectui.store.merging.parts import Part, Place, check_complete, check_same, named, read_parts
from spectui.store.paths import expanded
from spectui.store.reading.choices import choices
from spectui.store.reading.reader import Reader
from spectui.store.records import Cut, RoundRecord
from spectui.store.rows import RoundRow
from spectui.store.sessions import create_session, set_tags
from spectui.store.sqlite.transactions import transaction
from spectui.store.writing.writer import PendingGeneration, SessionWriter

ROUNDS_AT_A_TIME = 256

Progress = Callable[[int, int], None]
"""Called with the prompts that are written, and all of them."""


@dataclass(frozen=True)
class Merged:
    """The session that was made."""

    session: int
    name: str
    prompts: int
    rounds: int
    shards: int
    devices: int


def merge(
    places: Sequence[Place],
    out: Path,
    *,
    name: str | None = None,
    force: bool = False,
    progress: Progress = lambda done, total: None,
) -> Merged:
    """Write the session that these shards are together into a new database `out`; they stay as they are.

    It is there when it is whole, or not at all. Raises `StoreError` with the reason when they do not belong together,
    or when something cannot be read or written.
    """
    out = expanded(out).absolute()
    check_free(out, force=force)
    if len(places) != len(set(places)):
        twice, _ = Counter(places).most_common(1)[0]
        raise StoreError(f"{named(twice)} is named twice; name each shard once")
    with ExitStack() as stack:
        parts = read_parts(places, stack)
        check_same(parts)
        check_complete(parts)
        with held_draft(out, force=force) as draft, closing(connect(draft)) as db:
            # Nothing is worth a journal: a file that is not finished is removed.
            for pragma in ("journal_mode = MEMORY", "synchronous = OFF"):
                db.execute(f"PRAGMA {pragma}").fetchall()
            merged = _Merge(db, parts, name).write(progress)
            problems = check(db)
            if problems:
                raise StoreError(f"the merged session is not sound ({problems[0]}); nothing was written")
    return merged


_REPLICA_COLUMNS = (
    "host", "device", "machine", "costs", "energy_joules", "energy_seconds", "joined_at", "left_at", "engine", "reason",
)  # fmt: skip
_OF_SESSION = "host, device, machine, costs, energy_joules, energy_seconds, started_at, ended_at, '', ''"
"""The same of a session's worker."""


class _Writer(SessionWriter):
    """The ordinary writer, and what a merge alone writes: the past."""

    def add_replicas(self, part: Part) -> dict[int | None, int]:
        """Keep the replicas that decoded a part, and its worker where that did; returns their ids by those in the part,
        of which the worker's is None."""
        reader, session = part.reader, part.summary.id
        rows = reader.fetch(
            f"SELECT id, {', '.join(_REPLICA_COLUMNS)} FROM replica WHERE id IN"
            " (SELECT replica_id FROM generation WHERE session_id = ?) ORDER BY number",
            session,
        )
        ((by_worker,),) = reader.fetch(
            "SELECT EXISTS (SELECT 1 FROM generation WHERE session_id = ? AND replica_id IS NULL AND round_count)",
            session,
        )
        if by_worker or not rows:
            rows.append((None, *part.row(_OF_SESSION)))
        sql = (
            f"INSERT INTO replica (session_id, number, {', '.join(_REPLICA_COLUMNS)})"
            " SELECT ?, (SELECT count(*) + 1 FROM replica WHERE session_id = ?),"
            f" {', '.join('?' * len(_REPLICA_COLUMNS))}"
        )
        ids: dict[int | None, int] = {}
        with self._lock, transaction(self._connection):
            for replica_id, *columns in rows:
                made = self._connection.execute(sql, (self._session_id, self._session_id, *columns)).lastrowid
                assert made is not None
                ids[replica_id] = made
        return ids

    def end(self, parts: Sequence[Part]) -> None:
        """Close the session with the times of its parts and, on one class of device, what they spent together."""
        self.set_status("finished")
        began, ended, last = (
            [time for time in times if time is not None]
            for times in zip(*(part.row("started_at, ended_at, round_at") for part in parts), strict=True)
        )
        columns: dict[str, Any] = {
            "started_at": min(began, default=None),
            "ended_at": max(ended, default=None),
            "round_at": max(last, default=None),
        }
        with self._lock:
            replicas = self._connection.execute(
                "SELECT machine, costs, energy_joules, energy_seconds FROM replica WHERE session_id = ?",
                (self._session_id,),
            ).fetchall()
        machines, costs, joules, seconds = zip(*replicas, strict=True)
        if len(set(machines)) == 1:
            columns |= {"machine": machines[0], "costs": next(filter(None, costs), None)}
            if None not in joules:
                columns |= {"energy_joules": sum(joules), "energy_seconds": sum(seconds)}
        self._update(**columns)


class _Merge:
    """Writes the session that parts found fit are together."""

    def __init__(self, db: sqlite3.Connection, parts: Sequence[Part], name: str | None) -> None:
        self._db = db
        self._parts = parts
        self._holders = dict(sorted((position, part) for part in parts for position in part.prompts))
        """Position -> the part that has its prompt."""
        first = parts[0].summary
        names = {part.summary.name for part in parts}
        prices = {part.summary.config.get("price") for part in parts}
        limits = dict.fromkeys(("max_seconds", "max_nodes", "max_tokens"))
        config = first.config | {"shard": "", "price": prices.pop() if len(prices) == 1 else None, **limits}
        self._session = create_session(
            db,
            name=name or (names.pop() if len(names) == 1 else None),
            config_json=json.dumps(config),
            target=first.target,
            drafter=first.drafter,
            tree=first.tree,
            prompts=[part.prompts[position] for position, part in self._holders.items()],
        )
        set_tags(db, self._session, {tag for part in parts for tag in part.summary.tags})
        self._writer = _Writer(db, self._session)
        self._writer.describe(
            device=" + ".join(dict.fromkeys(part.summary.device for part in parts)),
            tokenizer_id=first.tokenizer_id,
            versions=first.versions,
            model_files=parts[0].files,
        )
        self._choices: dict[tuple[str, ...], int] = {}
        """Task, tree, kind and reason -> the choice's id here."""

    def write(self, progress: Progress) -> Merged:
        """Write everything, prompts in the order of their positions."""
        copies = {part.label: _Copy(self._writer, part) for part in self._parts}
        for part in self._parts:
            copies[part.label].begin(self._choices)
        pending = self._writer.pending_generations()
        for done, prompt in enumerate(pending, start=1):
            copies[self._holders[prompt.position].label].copy_prompt(prompt)
            progress(done, len(pending))
        for part in self._parts:
            copies[part.label].end()
        shards = ", ".join(part.label for part in self._parts)
        self._writer.add_event("merged", f"from {shards}")
        self._writer.end(self._parts)
        with Reader(self._db) as reader:
            merged = reader.session(self._session)
        return Merged(
            merged.id, merged.name, merged.prompt_count, merged.rounds, len(self._parts), merged.devices
        )


class _Copy:
    """Writes one part into the merged session."""

    def __init__(self, writer: _Writer, part: Part) -> None:
        self._writer = writer
        self._part = part
        self._replicas = writer.add_replicas(part)
        self._rows = {row.position: row for row in part.reader.generations(part.summary.id)}
        self._choices: dict[int, int] = {}
        """A choice's id in the part -> its id here."""
        self._prompts: dict[int, int] = {}
        """A prompt's id in the part -> its id here."""

    def begin(self, known: dict[tuple[str, ...], int]) -> None:
        """Write the part's vocabulary and choices of trees, of which `known` are there already."""
        tokenizer = self._part.summary.tokenizer_id
        reader, session = self._part.reader, self._part.summary.id
        tokens = reader.fetch("SELECT token_id, bytes FROM token WHERE tokenizer_id = ?", tokenizer)
        self._writer.add_tokens(tokenizer, dict(tokens))
        for choice in choices(reader, session):
            key = (choice.task, choice.tree, choice.kind, choice.reason)
            if key not in known:
                known[key] = self._writer.add_choice(*key, at=choice.at)
            self._choices[choice.id] = known[key]

    def copy_prompt(self, prompt: PendingGeneration) -> None:
        """Write a prompt's rounds as they were recorded."""
        row = self._rows[prompt.position]
        self._prompts[row.id] = prompt.id
        replica = self._replicas.get(row.replica_id)  # of none, if it was skipped before one had it
        if row.started_at is not None:
            self._writer.start_generation(prompt.id, row.prompt_tokens, replica, at=row.started_at)
        after = 0
        while rounds := self._part.reader.rounds(row.id, after, ROUNDS_AT_A_TIME):
            for each in rounds:
                self._writer.record_round(prompt.id, self._record(each))
            after = rounds[-1].number
        self._writer.finish_generation(
            prompt.id,
            row.status,
            output=row.output,
            error=row.error,
            finish_reason=row.finish_reason,
            at=row.ended_at,
        )

    def end(self) -> None:
        """Write the part's measurements and events."""
        reader, session = self._part.reader, self._part.summary.id
        for at, ms, tokens, round_ms, replica in reader.fetch(
            "SELECT at, ms_per_token, tokens, round_ms, replica_id FROM baseline WHERE session_id = ? ORDER BY id",
            session,
        ):
            if replica in self._replicas:
                self._writer.add_baseline(ms, tokens, round_ms, self._replicas[replica], at=at)
        for event in reader.events(session):
            text = (
                event.text if event.generation_id is not None else f"{event.text} ({self._part.shard.words})"
            )
            generation = None if event.generation_id is None else self._prompts[event.generation_id]
            self._writer.add_event(event.kind, text, generation, at=event.at)

    def _record(self, row: RoundRow) -> RoundRecord:
        return RoundRecord(
            row.number,
            row.prefix_length,
            row.accepted_length,
            row.bonus_token_id,
            cast("Cut | None", row.cut),
            row.draft_ms,
            row.verify_ms,
            row.other_ms,
            row.nodes,
            None if row.choice_id is None else self._choices[row.choice_id],
        )
