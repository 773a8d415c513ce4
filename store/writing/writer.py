"""The writer of a session: its prompts, each round with its tree, events, and the bytes of tokens."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, NamedTuple

from spectui.store.care.pruning import prune_session
from spectui.store.clock import now
from spectui.store.counts import metrics
from spectui.store.counts.recount import rebuild
from spectui.store.counts.rollups import Rollups, add_block, forget_blocks
from spectui.store.counts.tally import RoundTally, tally
from spectui.store.database import Connection
from spectui.store.errors import StoreError
from spectui.store.reading.choices import add_choice
from spectui.store.records import NodeRecord, RoundRecord
from spectui.store.rows import FINISH_REASONS, GENERATION_STATUSES, HALF_DONE_SQL
from spectui.store.sqlite.transactions import explained, transaction
from spectui.store.writing.replicas import add_replica, update_replica
from spectui.store.writing.session_row import SessionRow, storable

_ADD_ROUND = """
    INSERT INTO round (generation_id, number, prefix_length, accepted_length, bonus_token_id, cut, node_count,
                       draft_ms, verify_ms, other_ms, choice_id, explained)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
"""
_NODE_COLUMNS = ", ".join(f'"{name}"' for name in ("round_id", *NodeRecord._fields))
_ADD_NODE = f"INSERT INTO node ({_NODE_COLUMNS}) VALUES ({', '.join('?' * (1 + len(NodeRecord._fields)))})"
_ADD_EXPLAINED = """
    UPDATE session SET greedy_rounds = greedy_rounds + 1, explained_rounds = explained_rounds + ?,
                       unexplained_round_id = coalesce(unexplained_round_id, ?)
    WHERE id = ?
"""

LOG_CHECK_ROUNDS = 16
"""Rounds between two looks at the size of the log: a megabyte of it, or two."""


class PendingGeneration(NamedTuple):
    """A prompt still to be run."""

    id: int
    task: str
    prompt_text: str
    position: int
    prompt_id: str
    messages: str | None = None
    """As in `store.records.PromptRecord`."""


class SessionWriter(SessionRow):
    """Records one session: its row, as `SessionRow` says, its prompts and their rounds."""

    def __init__(self, db: Connection, session_id: int) -> None:
        super().__init__(db, session_id)
        self._tasks: dict[int, str] = {}
        self._rollups = Rollups(self._connection, session_id)

    def restart_unfinished(self) -> int:
        """Make prompts that an earlier worker left half-done pending again, without their rounds; returns how many.

        Their rounds go because those of one prompt must continue each other: what a drafter had learnt
        within the prompt is gone with the worker, and the text comes out the same again.
        """
        with self._lock, transaction(self._connection):
            unfinished = self._connection.execute(
                f"SELECT id FROM generation WHERE session_id = ? AND {HALF_DONE_SQL}",
                (self._session_id,),
            ).fetchall()
            self._make_pending([generation_id for (generation_id,) in unfinished])
        return len(unfinished)

    def restart_generation(self, generation_id: int) -> None:
        """Make one running prompt pending again, without its rounds."""
        with self._lock, transaction(self._connection):
            self._make_pending([generation_id])

    def _make_pending(self, generations: list[int]) -> None:
        if not generations:
            return
        rows = [(generation_id,) for generation_id in generations]
        self._connection.executemany("DELETE FROM round WHERE generation_id = ?", rows)
        forget_blocks(self._connection, generations)
        self._connection.executemany("DELETE FROM pruned WHERE generation_id = ?", rows)
        self._connection.executemany(
            "UPDATE generation SET status = 'pending', prompt_tokens = NULL, started_at = NULL, ended_at = NULL,"
            " output = '', error = NULL, finish_reason = NULL, first_token_id = NULL, replica_id = NULL WHERE id = ?",
            rows,
        )
        rebuild(self._connection, self._session_id)
        self._rollups.forget()

    def add_event(
        self, kind: str, text: str, generation_id: int | None = None, *, at: str | None = None
    ) -> None:
        """Keep an event of the run or of one prompt, for ever and with its time, now unless given.

        `kind` is any short name: a run must not fail because of what it wants to say.
        """
        with self._lock, transaction(self._connection):
            self._connection.execute(
                "INSERT INTO event (session_id, generation_id, at, kind, text) VALUES (?, ?, ?, ?, ?)",
                (self._session_id, generation_id, at or now(), kind, storable(text)),
            )

    def add_choice(self, task: str, tree: str, kind: str, reason: str, *, at: str | None = None) -> int:
        """Keep that `task` has `tree` from now on, and the reason (`store.reading.choices`); returns the id."""
        with self._lock, transaction(self._connection):
            return add_choice(self._connection, self._session_id, task, tree, kind, reason, at=at)

    def pending_generations(self) -> list[PendingGeneration]:
        """The prompts still to be run, in order."""
        with self._lock, explained(None, self._connection):
            rows = self._connection.execute(
                "SELECT id, task, prompt_text, position, prompt_id, messages FROM generation"
                " WHERE session_id = ? AND status = 'pending' ORDER BY position",
                (self._session_id,),
            ).fetchall()
        return [PendingGeneration(*row) for row in rows]

    def mean_round_ms(self, generation_id: int) -> float | None:
        """Mean time of the rounds of a prompt; None where no time is known."""
        total = metrics.total_ms_sql("generation")
        row = self._read(f"SELECT {total}, round_count FROM generation WHERE id = ?", generation_id)
        return row[0] / row[1] if row[0] and row[1] else None

    def note_prompt(
        self, generation_id: int, prompt_tokens: int | None, first_token_id: int | None = None
    ) -> None:
        """Keep what a server says of a running prompt with its first token."""
        with self._lock, transaction(self._connection):
            self._connection.execute(
                "UPDATE generation SET prompt_tokens = coalesce(?, prompt_tokens), first_token_id = ? WHERE id = ?",
                (prompt_tokens, first_token_id, generation_id),
            )

    def start_generation(
        self,
        generation_id: int,
        prompt_tokens: int | None = None,
        replica_id: int | None = None,
        *,
        at: str | None = None,
    ) -> None:
        """Mark a pending prompt as running, on a replica or here, since a time or now. `StoreError` if it is not
        pending."""
        task = self._task(generation_id)
        with self._lock, transaction(self._connection):
            started = self._connection.execute(
                "UPDATE generation SET status = 'running', prompt_tokens = ?, started_at = ?, replica_id = ?"
                " WHERE id = ? AND status = 'pending'",
                (prompt_tokens, at or now(), replica_id, generation_id),
            ).rowcount
            if not started:
                raise StoreError(f"prompt {generation_id} was started before")
            self._rollups.add_prompt(task)

    def record_round(self, generation_id: int, record: RoundRecord) -> None:
        """Write a round, its nodes, the generation's sums and the rollups in one transaction.

        The generation must be running and the numbers of its rounds follow each other from 1. Raises
        `StoreError`, with nothing written, otherwise and when the nodes are no tree.
        """
        counts = tally(record)
        with self._lock, transaction(self._connection, undo=self._rollups.forget):
            self._write_round(generation_id, record, counts)
        self.round_at = now()
        if record.number % LOG_CHECK_ROUNDS == 0:
            self._truncate_log()

    def _write_round(self, generation_id: int, record: RoundRecord, counts: RoundTally) -> None:
        """Write a round within the caller's transaction."""
        task = self._task(generation_id)
        self._rollups.add_to_prompt(generation_id, record, counts)
        round_id = self._connection.execute(
            _ADD_ROUND,
            (
                generation_id,
                record.number,
                record.prefix_length,
                record.accepted_length,
                record.bonus_token_id,
                record.cut,
                len(record.nodes),
                record.draft_ms,
                record.verify_ms,
                record.other_ms,
                record.choice_id,
                record.explained,
            ),
        ).lastrowid
        self._connection.executemany(_ADD_NODE, [(round_id, *node) for node in record.nodes])
        self._rollups.add_round(generation_id, task, record, counts)
        if record.explained is not None:
            self._connection.execute(
                _ADD_EXPLAINED, (record.explained, None if record.explained else round_id, self._session_id)
            )

    def finish_generation(
        self,
        generation_id: int,
        status: str,
        *,
        output: str = "",
        error: str | None = None,
        finish_reason: str | None = None,
        at: str | None = None,
    ) -> None:
        """Mark a prompt as finished, skipped or failed (started or not), at a time or now."""
        if status not in GENERATION_STATUSES[2:]:
            raise ValueError(f"{status!r} is no status of a generation that ended")
        if finish_reason is not None and finish_reason not in FINISH_REASONS:
            raise ValueError(f"{finish_reason!r} is no reason to finish")
        task = self._task(generation_id)
        with self._lock, transaction(self._connection):
            (before,) = self._read("SELECT status FROM generation WHERE id = ?", generation_id)
            if before == "pending":
                self._rollups.add_prompt(task)
            self._connection.execute(
                "UPDATE generation SET status = ?, output = ?, error = ?, finish_reason = ?, ended_at = ?"
                " WHERE id = ?",
                (
                    status,
                    storable(output),
                    error and storable(error),
                    finish_reason,
                    at or now(),
                    generation_id,
                ),
            )
            add_block(self._connection, generation_id)
        self._tasks.pop(generation_id, None)

    def join_replica(self, engine: str, host: str, pid: int) -> tuple[int, int]:
        """Keep that a replica has joined; returns its id and its number."""
        with self._lock, transaction(self._connection):
            return add_replica(self._connection, self._session_id, engine, host, pid)

    def update_replicas(self, columns: Mapping[int, Mapping[str, Any]]) -> None:
        """Write columns of some replicas, by id."""
        with self._lock, transaction(self._connection):
            for replica_id, values in columns.items():
                update_replica(self._connection, replica_id, values)

    def prune(self, before: datetime | None) -> None:
        """Give up nodes of prompts that ended by `before` (`store.care.pruning`), in short transactions."""
        with self._lock:
            prune_session(self._connection, self._session_id, before, lambda *_: self._truncate_log())

    def add_tokens(self, tokenizer_id: str, tokens: Mapping[int, bytes]) -> None:
        """Keep the bytes of tokens; those known already are left as they are. Call before `record_round`."""
        with self._lock, transaction(self._connection):
            self._connection.executemany(
                "INSERT OR IGNORE INTO token (tokenizer_id, token_id, bytes) VALUES (?, ?, ?)",
                [(tokenizer_id, token_id, value) for token_id, value in sorted(tokens.items())],
            )

    def tokens(self, tokenizer_id: str) -> dict[int, bytes]:
        """The bytes of all tokens that are kept of a vocabulary."""
        with self._lock, explained(None, self._connection):
            rows = self._connection.execute(
                "SELECT token_id, bytes FROM token WHERE tokenizer_id = ?", (tokenizer_id,)
            ).fetchall()
        return dict(rows)

    def tokens_known(self, tokenizer_id: str) -> int:
        """The number of tokens whose bytes are kept."""
        (count,) = self._read("SELECT count(*) FROM token WHERE tokenizer_id = ?", tokenizer_id)
        return int(count)

    def _task(self, generation_id: int) -> str:
        task = self._tasks.get(generation_id)
        if task is None:
            (task,) = self._read(
                "SELECT task FROM generation WHERE id = ? AND session_id = ?", generation_id, self._session_id
            )
            self._tasks[generation_id] = task
        return task
