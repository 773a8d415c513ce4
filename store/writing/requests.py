"""The recording of a server's own requests: prompts that nobody knew of before they came, many rows at a time.

A portion is one transaction: requests, rounds and ends, with the place up to which each request is recorded. So whoever
reads the server's rows again after any failure knows which of them are there already.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from spectui.store.clock import now, stamp
from spectui.store.counts.rollups import add_block
from spectui.store.counts.tally import tally
from spectui.store.database import Connection, raw
from spectui.store.labels import fresh_name
from spectui.store.records import RoundRecord
from spectui.store.sources import RECORDER, RECORDING, Server
from spectui.store.sqlite.transactions import transaction
from spectui.store.writing.session_row import storable
from spectui.store.writing.writer import SessionWriter


@dataclass(frozen=True)
class NewRequest:
    """A request as the server took it up."""

    name: str
    """The server's own id of it."""
    prompt_id: str
    task: str
    at: float
    prompt_tokens: int | None
    temperature: float | None
    most_tokens: int | None


@dataclass(frozen=True)
class Recorded:
    """The place up to which a request is recorded."""

    generation_id: int
    task: str
    rounds: int
    reached: int | None
    over: bool
    """True where its end is recorded, too."""


def _session_of(connection: sqlite3.Connection, start: str) -> int | None:
    rows = connection.execute(
        "SELECT id, config FROM session WHERE source = ? AND deleted_at IS NULL ORDER BY id DESC", (RECORDER,)
    )
    return next((row[0] for row in rows if recording_of(row[1]).get("start") == start), None)


def recording_of(config: str) -> Mapping[str, Any]:
    """The part of a session's configuration that is about the recording it comes from."""
    try:
        recording = json.loads(config).get(RECORDING)
    except (ValueError, AttributeError):
        return {}
    return recording if isinstance(recording, dict) else {}


def session_of_start(db: Connection, start: str, at: float, server: Server, *, tree: str) -> int:
    """The session of a server's start, made without prompts where there is none yet; returns its id."""
    connection = raw(db)
    about = {RECORDING: {"start": start}}
    with transaction(connection):  # so that two processes make one
        if (known := _session_of(connection, start)) is not None:
            return known
        names = {name for (name,) in connection.execute("SELECT name FROM session")}
        session_id = connection.execute(
            "INSERT INTO session (name, status, created_at, started_at, config, target, drafter, tree, device,"
            " prompt_count, source, server) VALUES (?, 'starting', ?, ?, ?, ?, ?, ?, ?, 0, ?, ?)",
            (
                fresh_name(names),
                now(),
                _stamp(at),
                json.dumps(about),
                storable(server.model),
                storable(server.method),
                tree,
                storable(server.name),
                RECORDER,
                server.to_json(),
            ),
        ).lastrowid
    assert session_id is not None
    return session_id


class RequestWriter(SessionWriter):
    """Records the requests of one server's start."""

    @contextmanager
    def portion(self) -> Iterator[None]:
        """A transaction for the methods below, all of which need one. Raises `StoreError`, with nothing written."""
        with self._lock:
            with transaction(self._connection, undo=self._rollups.forget):
                yield
            self._truncate_log()

    def begin(self, request: NewRequest) -> Recorded:
        """Add a running request; one that is there already is left as it is."""
        if (known := self.recorded(request.name)) is not None:
            return known
        (position,) = self._read("SELECT prompt_count FROM session WHERE id = ?", self._session_id)
        generation_id = self._connection.execute(
            "INSERT INTO generation (session_id, position, prompt_id, task, status, prompt_tokens, started_at,"
            " prompt_text) VALUES (?, ?, ?, ?, 'running', ?, ?, '')",
            (
                self._session_id,
                position,
                storable(request.prompt_id),
                storable(request.task),
                request.prompt_tokens,
                _stamp(request.at),
            ),
        ).lastrowid
        assert generation_id is not None
        self._connection.execute(
            "INSERT INTO request (generation_id, session_id, name, reached, temperature, most_tokens)"
            " VALUES (?, ?, ?, ?, ?, ?)",
            (
                generation_id,
                self._session_id,
                storable(request.name),
                request.prompt_tokens,
                request.temperature,
                request.most_tokens,
            ),
        )
        self._connection.execute(
            "UPDATE session SET prompt_count = prompt_count + 1 WHERE id = ?", (self._session_id,)
        )
        task = storable(request.task)
        self._rollups.add_prompt(task)
        return Recorded(generation_id, task, 0, request.prompt_tokens, over=False)

    def recorded(self, name: str) -> Recorded | None:
        """The place up to which a request is recorded; None where it is not there."""
        row: Any = self._connection.execute(
            "SELECT generation_id, task, round_count, reached, status <> 'running' FROM request"
            " JOIN generation ON generation.id = generation_id WHERE request.session_id = ? AND name = ?",
            (self._session_id, storable(name)),
        ).fetchone()
        return None if row is None else Recorded(row[0], row[1], row[2], row[3], over=bool(row[4]))

    def output_tokens(self, generation_id: int) -> tuple[int, ...]:
        """The tokens of a request's output so far."""
        (first,) = self._read("SELECT first_token_id FROM generation WHERE id = ?", generation_id)
        tokens: list[int] = [] if first is None else [first]
        for round_id, bonus in self._connection.execute(
            "SELECT id, bonus_token_id FROM round WHERE generation_id = ? ORDER BY number", (generation_id,)
        ).fetchall():
            tokens += [
                token
                for (token,) in self._connection.execute(
                    "SELECT token_id FROM node WHERE round_id = ? AND accepted ORDER BY depth", (round_id,)
                )
            ]
            tokens += [] if bonus is None else [bonus]
        return tuple(tokens)

    def add_first_token(self, generation_id: int, token: int, reached: int) -> None:
        """Keep the token that came with the prompt's own pass."""
        self._connection.execute(
            "UPDATE generation SET first_token_id = ? WHERE id = ?", (token, generation_id)
        )
        self._reach(generation_id, reached)

    def add_round(self, generation_id: int, record: RoundRecord, reached: int) -> None:
        """Write a round of a running request."""
        self._write_round(generation_id, record, tally(record))
        self._reach(generation_id, reached)

    def end(
        self,
        generation_id: int,
        at: float,
        status: str,
        *,
        output: str = "",
        error: str | None = None,
        reason: str | None = None,
        preempted: int = 0,
    ) -> None:
        """Mark a request as finished or failed."""
        self._connection.execute(
            "UPDATE generation SET status = ?, output = ?, error = ?, finish_reason = ?, ended_at = ? WHERE id = ?",
            (status, storable(output), error and storable(error), reason, _stamp(at), generation_id),
        )
        self._connection.execute(
            "UPDATE request SET preempted = ? WHERE generation_id = ?", (preempted, generation_id)
        )
        add_block(self._connection, generation_id)
        self._tasks.pop(generation_id, None)

    def note(self, kind: str, text: str, generation_id: int | None = None) -> None:
        """Keep an event, as `add_event`."""
        self._connection.execute(
            "INSERT INTO event (session_id, generation_id, at, kind, text) VALUES (?, ?, ?, ?, ?)",
            (self._session_id, generation_id, now(), kind, storable(text)),
        )

    def note_once(self, kind: str, text: str) -> None:
        """Keep an event of the session, unless there is one like it."""
        known = self._connection.execute(
            "SELECT 1 FROM event WHERE session_id = ? AND kind = ? AND text = ?",
            (self._session_id, kind, storable(text)),
        )
        if known.fetchone() is None:
            self.note(kind, text)

    def name_tree(self, tree: str) -> None:
        """Keep the shape of its drafts."""
        self._connection.execute("UPDATE session SET tree = ? WHERE id = ?", (tree, self._session_id))

    def finish(self, at: float) -> None:
        """Mark the session as finished when its server was gone, at this time; 0 where no row tells."""
        self.set_status("finished")
        if at:
            self._update(ended_at=_stamp(at), round_at=_stamp(at))

    def note_tokens(self, tokenizer_id: str, tokens: Mapping[int, bytes]) -> None:
        """Keep the bytes of tokens, as `add_tokens`."""
        self._connection.executemany(
            "INSERT OR IGNORE INTO token (tokenizer_id, token_id, bytes) VALUES (?, ?, ?)",
            [(tokenizer_id, token, value) for token, value in sorted(tokens.items())],
        )

    def running(self) -> list[int]:
        """Ids of the requests whose end is not recorded."""
        rows = self._connection.execute(
            "SELECT id FROM generation WHERE session_id = ? AND status = 'running'", (self._session_id,)
        )
        return [generation_id for (generation_id,) in rows]

    def sign_of_life(self, latest: float) -> None:
        """Write that the recording goes on, and the time of its newest row; 0 before any."""
        self._update(heartbeat_at=now(), **({"round_at": _stamp(latest)} if latest else {}))

    def name_temperature(self, temperature: float) -> None:
        """Keep a temperature that requests are sampled with as the session's own."""
        self._connection.execute(
            "UPDATE session SET config = json_set(config, '$.temperature', ?) WHERE id = ?",
            (temperature, self._session_id),
        )

    def keep_place(self, recording: Mapping[str, Any]) -> None:
        """Write how far the server's files are read, into the session's configuration."""
        config = json.loads(self.config_json())
        self._update(config=json.dumps({**config, RECORDING: dict(recording)}))

    def _reach(self, generation_id: int, reached: int) -> None:
        self._connection.execute(
            "UPDATE request SET reached = ? WHERE generation_id = ?", (reached, generation_id)
        )


def _stamp(at: float) -> str:
    return stamp(datetime.fromtimestamp(at, UTC))
