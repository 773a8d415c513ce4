"""The dispatcher: it hands prompts to replicas, writes what they do, and begins again elsewhere what is lost.

It runs in the session's worker and is the only one that writes. A replica's prompt has an attempt number: what comes of
another attempt than the one at hand is dropped, so that no round is written twice.
"""

from __future__ import annotations

import json
import logging
import time
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Protocol

from spectui.decoding.errors import DecodingError
from spectui.decoding.models.fingerprint import Basis, differences
from spectui.decoding.replicas.members import PULSE_SECONDS, Member, State
from spectui.decoding.replicas.messages import Batch, Facts, Loaded, Operation, Pulse
from spectui.decoding.replicas.transport import Answer, Transport
from spectui.decoding.worker.control import Control, LimitReached, Limits, Skipped, Stopped
from spectui.store.clock import now
from spectui.store.errors import BadRound
from spectui.store.records import RoundRecord
from spectui.store.writing.writer import PendingGeneration, SessionWriter

POLL_SECONDS = 0.1
"""Longest wait for answers between two looks at commands and clocks."""
TAKE_SECONDS = 0.5
"""Time that a replica may wait for something to report."""
STILL_SECONDS = 5.0
"""After so long without a look at them, it is the dispatcher that stood still, not the replicas."""
CLOSE_SECONDS = 5.0
"""Time that replicas have to end their prompts when the run is to end."""
ATTEMPTS = 5
"""Attempts at one prompt; one that ends its replica so often is what ends it."""
RESUMABLE = "nothing is lost: spectui run --resume goes on"

log = logging.getLogger("spectui.worker")


class Chosen(Protocol):
    """The run as far as the dispatcher has to know it."""

    @property
    def config_json(self) -> str:
        """The configuration that replicas load; with its tree, once that is chosen."""

    @property
    def chooses_tree(self) -> bool:
        """True until the tree is chosen."""

    def begin(self, member: Member, loaded: Loaded) -> bool:
        """Take the first replica's models for those of the run, which begins or goes on; whether its tokens are
        wanted. Raises `Refused`."""

    def keep_after(self) -> None:
        """Called when a prompt has ended."""

    def add_tokens(self, tokens: dict[int, bytes]) -> None:
        """Keep the bytes of the tokens."""


class Dispatcher:
    """Decodes the pending prompts of a session on the replicas of a transport, `count` of them at a time."""

    def __init__(
        self,
        writer: SessionWriter,
        control: Control,
        limits: Limits,
        transport: Transport,
        run: Chosen,
        count: int,
        progress: Callable[[str, float | None, float | None, str], None],
    ) -> None:
        self._writer, self._control, self._limits = writer, control, limits
        self._transport, self._run, self._count = transport, run, count
        self._progress = progress
        self.members: list[Member] = []
        """Replicas that are there, in the order in which they were started."""
        self._pending: deque[PendingGeneration] = deque()
        self._attempts: dict[int, int] = {}
        self._attempt = 0
        self._begun = self._tokens_wanted = False
        self._agreed: tuple[str, Basis] | None = None
        """The first replica, and what all others have to be like."""
        self._first: Loaded | None = None
        self._choices: dict[tuple[str, ...], int] = {}
        self._fruitless = 0
        """Replicas lost since a prompt was finished."""
        self._last_word = ""
        """Of the replica that left last."""
        self._looked = self._wrote = time.monotonic()

    # The run.

    def decode(self) -> None:
        """Decode every pending prompt. Raises `Stopped` when the run is to end before that, and `DecodingError` when
        no replica is left."""
        self._progress(f"starting {self._count} replicas", None, None, "")
        for _ in range(self._count):
            self._add()
        while not self._begun or self._pending or self._decoding():
            self._obey()
            self._hand_out()
            self._turn(POLL_SECONDS)
        self._collect()

    def close(self) -> None:
        """Have all replicas leave."""
        for member in list(self.members):
            self._leave(member, "the run ended", quietly=True)

    def _turn(self, seconds: float) -> None:
        """Take up what has come, and look at the clocks."""
        for answer in self._transport.wait(seconds):
            member = next((each for each in self.members if each.link is answer.link), None)
            if member is not None:
                self._hear(member, answer)
        self._look_after()

    def _decoding(self) -> list[Member]:
        return [each for each in self.members if each.state is State.DECODING]

    def _obey(self) -> None:
        """Obey commands, signals and limits; a skip ends the prompt that has been at work for longest."""
        limit = self._limits.reached(self._control.idle.seconds)
        if limit is not None:
            self._end_prompts()
            raise LimitReached(limit)
        self._control.listen(self._writer)
        if not self._control.due():
            return
        paused: list[Member] = []

        def meanwhile() -> None:
            if not paused:
                paused.extend(self.members)
                self._tell("pause")
            self._turn(0.0)

        try:
            self._control.check(self._writer, meanwhile)
        except Skipped:
            self._tell("resume" if paused else "")
            self._skip()
        except Stopped:
            self._end_prompts()
            raise
        else:
            self._tell("resume" if paused else "")

    def _tell(self, command: str) -> None:
        for member in self._decoding() if command else ():
            member.link.ask("tell", command)

    def _skip(self) -> None:
        oldest = min(self._decoding(), key=lambda each: each.started_at, default=None)
        if oldest is not None:
            oldest.link.ask("tell", "skip")
        elif self._pending:
            self._writer.finish_generation(self._pending.popleft().id, "skipped", finish_reason="skipped")

    def _end_prompts(self) -> None:
        """Have all prompts end where they are; those of replicas that do not answer end without a text."""
        self._tell("stop")
        deadline = time.monotonic() + CLOSE_SECONDS
        self._pending.clear()
        self._count = 0  # nothing is started any more
        while self._decoding() and time.monotonic() < deadline:
            self._turn(POLL_SECONDS)
        for member in self._decoding():
            if member.generation is not None and not member.closed:
                self._writer.finish_generation(member.generation.id, "skipped", finish_reason="stopped")
            member.generation = None

    def _collect(self) -> None:
        """Fetch what replicas still have when there are no more prompts."""
        asked = [each for each in self.members if each.state is State.READY]
        for member in asked:
            member.state, member.attempt = State.DECODING, 0
            member.link.ask("finish")
        deadline = time.monotonic() + CLOSE_SECONDS
        self._count = 0
        while self._decoding() and time.monotonic() < deadline:
            self._turn(POLL_SECONDS)

    def _hand_out(self) -> None:
        """Give a prompt to every replica that has none."""
        if not self._begun or self._tokens_wanted:
            return
        for member in self.members:
            if member.state is State.READY and self._pending:
                generation = self._pending.popleft()
                self._attempt += 1
                self._attempts[generation.id] = self._attempts.get(generation.id, 0) + 1
                member.generation, member.attempt, member.closed = generation, self._attempt, False
                member.state, member.started_at = State.DECODING, time.monotonic()
                member.link.ask("start", generation, self._attempt)
                member.link.ask("take", TAKE_SECONDS)

    # Answers.

    def _hear(self, member: Member, answer: Answer) -> None:
        if answer.lost:
            self._lose(member, answer.lost)
            return
        member.heard = time.monotonic()
        if answer.error:
            self._hear_error(member, answer)
            return
        match answer.value:
            case Facts() as facts:
                self._join(member, facts)
            case Loaded() as loaded:
                self._ready(member, loaded)
            case Pulse() as pulse:
                member.pulse, member.pulse_heard, member.pulse_asked = pulse, member.heard, None
            case Batch() as batch:
                self._take(member, batch)
            case dict() as tokens:
                self._run.add_tokens(tokens)
                self._tokens_wanted = False
            case _:
                pass

    def _hear_error(self, member: Member, answer: Answer) -> None:
        if answer.method in ("facts", "load"):
            self._leave(member, answer.error)
        elif answer.method == "pulse":
            member.pulse_asked = None
        else:
            self._lose(member, f"{answer.method} failed: {answer.error}")

    def _join(self, member: Member, facts: Facts) -> None:
        member.facts, member.state = facts, State.JOINED
        member.row, member.number = self._writer.join_replica(self._transport.name, facts.host, facts.pid)

    def _compare(self) -> None:
        """Compare all replicas before the first of them loads anything, and each that comes later."""
        if self._agreed is None and any(each.state is State.JOINING for each in self.members):
            return
        for member in list(self.members):
            if member.state is not State.JOINED or member.facts is None:
                continue
            basis = member.facts.basis
            name, agreed = self._agreed or (member.name, basis)
            if apart := differences(agreed, basis):
                text = _unlike(member, name, apart)
                if self._attempt == 0:
                    raise DecodingError(text)
                self._leave(member, text)
            elif self._agreed is None:
                self._agreed = (name, agreed)

    def _load(self) -> None:
        """Have replicas load; where the tree is still to be chosen, one of them alone does that first."""
        if self._agreed is None:
            return
        for member in self.members:
            choosing = self._run.chooses_tree
            if choosing and any(each.state is State.LOADING for each in self.members):
                return
            if member.state is State.JOINED:
                member.state = State.LOADING
                member.link.ask("load", self._run.config_json, choosing)

    def _ready(self, member: Member, loaded: Loaded) -> None:
        """Take a replica with its models among those that decode."""
        member.loaded, member.state = loaded, State.READY
        if self._first is not None and (apart := differences(_files(self._first), _files(loaded))):
            text = _unlike(member, "the first", apart)
            if self._attempt == 0:
                raise DecodingError(text)
            self._leave(member, text)
            return
        if self._first is None:
            self._first = loaded
            self._tokens_wanted = self._run.begin(member, loaded)
            for operation in loaded.operations:
                self._apply(member, operation)
            if self._tokens_wanted:
                member.link.ask("vocabulary")
            self._pending = deque(self._writer.pending_generations())
        costs = None if loaded.costs_json is None else json.loads(loaded.costs_json)
        self._writer.update_replicas(
            {
                member.row: {
                    "device": loaded.basis.device,
                    "machine": loaded.machine.to_json(),
                    "costs": costs,
                }
            }
        )
        self._writer.add_event(
            "replica-joined", f"{member.name}: {loaded.basis.device}, {loaded.machine.words}"
        )

    def _begin(self) -> None:
        """Begin with the first replica that is ready, unless files that were not there are still to be compared."""
        if self._begun or self._first is None:
            return
        fetched = any(each.facts and not each.facts.basis.files.get("target") for each in self.members)
        if fetched and not all(each.state is State.READY for each in self.members):
            return
        self._begun = True
        self._progress("decoding", None, None, "")
        self._writer.set_status("running")

    def _take(self, member: Member, batch: Batch) -> None:
        """Write what a replica has done."""
        if member.state is not State.DECODING or batch.attempt != member.attempt:
            return
        if not batch.ended:
            member.link.ask("take", TAKE_SECONDS)  # it works on while this is written
        for operation in batch.operations:
            self._apply(member, operation)
        if not batch.ended:
            return
        generation, member.generation = member.generation, None
        member.state = State.READY
        if generation is not None and not member.closed:
            error = batch.error or "the replica ended the prompt without a word"
            self._writer.finish_generation(generation.id, "failed", error=error)

    def _apply(self, member: Member, operation: Operation) -> None:
        """Do one call that a replica asks the writer for."""
        method, arguments, options = operation
        if method in ("start_generation", "restart_generation", "record_round", "finish_generation"):
            self._apply_to_prompt(member, method, arguments, options)
        elif method == "add_event":
            self._writer.add_event(*arguments)
        elif method == "add_baseline":
            per_token, tokens, beside = arguments
            self._writer.add_baseline(per_token, tokens, beside, replica_id=member.row)
        elif method == "add_choice":
            number, *choice = arguments
            member.choices[number] = self._choice(*choice)
        else:
            raise DecodingError(f"{member.name} asks for '{method}', which no replica may")

    def _apply_to_prompt(
        self, member: Member, method: str, arguments: tuple[Any, ...], options: dict[str, Any]
    ) -> None:
        generation_id, *rest = arguments
        if member.generation is None or member.generation.id != generation_id:
            raise DecodingError(f"{member.name} reports on prompt {generation_id}, which it does not have")
        if member.closed:  # by a fault of its own, see below
            return
        if method == "start_generation":
            self._writer.start_generation(generation_id, rest[0], replica_id=member.row)
        elif method == "restart_generation":
            self._writer.restart_generation(generation_id)
        elif method == "record_round":
            self._record(member, generation_id, *rest)
        else:
            member.closed = True
            self._fruitless = 0
            self._writer.finish_generation(generation_id, *rest, **options)
            self._run.keep_after()

    def _record(self, member: Member, generation_id: int, record: RoundRecord) -> None:
        if record.choice_id is not None:
            record = replace(record, choice_id=member.choices[record.choice_id])
        try:
            self._writer.record_round(generation_id, record)
        except BadRound as error:
            self._writer.finish_generation(generation_id, "failed", error=str(error))
            member.closed = True
            member.link.ask("tell", "skip")
            return
        self._limits.count(len(record.nodes), record.accepted_length + (record.bonus_token_id is not None))

    def _choice(self, task: str, tree: str, kind: str, reason: str) -> int:
        """The row of a choice; several replicas make the same one."""
        key = (task, tree, kind, reason)
        if key not in self._choices:
            self._choices[key] = self._writer.add_choice(*key)
        return self._choices[key]

    # Replicas that come and go.

    def _add(self) -> None:
        member = Member(self._transport.start(), time.monotonic())
        self.members.append(member)
        member.link.ask("facts", self._run.config_json)

    def _lose(self, member: Member, why: str) -> None:
        """Take leave of a replica that is gone; its prompt begins again elsewhere, and another takes its place."""
        self._fruitless += 1
        generation, closed = member.generation, member.closed
        self._leave(member, why)
        if generation is not None and not closed:
            self._writer.restart_generation(generation.id)
            if self._attempts[generation.id] < ATTEMPTS:
                self._pending.appendleft(generation)
            else:
                error = f"{ATTEMPTS} replicas were lost while they decoded it; the last: {why}"
                self._writer.finish_generation(generation.id, "failed", error=error)
        if len(self.members) < self._count and self._fruitless <= self._count + ATTEMPTS:
            self._add()

    def _leave(self, member: Member, why: str, *, quietly: bool = False) -> None:
        self.members.remove(member)
        self._last_word = f"{member.name}: {why}" if self._begun else why
        member.link.cut()
        if not member.row:
            return
        self._writer.update_replicas({member.row: {"left_at": now(), "reason": why, "stage": ""}})
        if not quietly:
            self._writer.add_event("replica-lost", f"{member.name}: {why}")

    def _look_after(self) -> None:
        """Ask for signs of life, take leave of the silent, and write once a second what is known."""
        at = time.monotonic()
        gap, self._looked = at - self._looked, at
        for member in list(self.members):
            if gap > STILL_SECONDS:
                member.heard += gap
            if at - member.heard > member.patience:
                silent = f"no sign of life for {at - member.heard:.0f} s"
                if member.state is State.JOINING:  # another would find no place either
                    self._leave(member, f"no replica has started in {at - member.heard:.0f} s")
                else:
                    self._lose(member, silent)
            elif member.wants_pulse(at):
                member.pulse_asked = at
                member.link.ask("pulse")
        self._compare()
        self._load()
        self._begin()
        if not self.members and self._count:
            left = f"no replica is left, the last was {self._last_word}; {RESUMABLE}"
            raise DecodingError(left if self._begun else self._last_word)
        if at - self._wrote < PULSE_SECONDS:
            return
        self._wrote = at
        if trouble := self._transport.trouble():
            raise DecodingError(f"{trouble}; {RESUMABLE}")
        self._write_state()

    def _write_state(self) -> None:
        shown = [each for each in self.members if each.row]
        meters = {each.meter: each for each in reversed(shown)}
        rows = {
            each.row: each.columns(
                now() if each.heard >= self._looked - 2 * PULSE_SECONDS else None,
                metered=meters[each.meter] is each,
            )
            for each in shown
        }
        if rows:
            self._writer.update_replicas(rows)
        loading = next(
            (each.pulse for each in self.members if each.state is State.LOADING and each.pulse), None
        )
        if loading is not None and not self._begun:
            self._progress(loading.stage, loading.done, loading.total, loading.unit)


def _files(loaded: Loaded) -> Basis:
    """The versions and files of a replica with its models, which have to be alike; the device need not be."""
    return Basis(loaded.basis.versions, "", loaded.basis.files)


def _unlike(member: Member, other: str, apart: list[str]) -> str:
    return (
        f"{member.name} is not like {other}: {'; '.join(apart)}; install and fetch the same on every machine"
    )
