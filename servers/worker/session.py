"""One run of a session on a server: it is recognised, its source of rounds is chosen, its prompts are asked."""

from __future__ import annotations

import json
import platform
import queue
import time
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from importlib.metadata import version
from types import TracebackType
from typing import Any, Self

from spectui.decoding.config import RunConfig
from spectui.decoding.worker.control import Control, LimitReached, Limits, Refused, Skipped
from spectui.prompts.chat import from_json, objects
from spectui.servers.address import key_for
from spectui.servers.answers.base import Pieces, Question, Reading
from spectui.servers.client import Bounds, Client
from spectui.servers.errors import ServerError
from spectui.servers.kinds import LLAMA, VLLM, asked_method, choose_model, recognise
from spectui.servers.rounds import ServerRound, to_record
from spectui.servers.worker.baseline import PlainServer
from spectui.servers.worker.choose_source import choose_source
from spectui.servers.worker.flights import QUEUED, Event, Flight
from spectui.store.records import UNKNOWN_TOKEN
from spectui.store.rows import SessionSummary
from spectui.store.sources import RECORDER, WAITING, Server
from spectui.store.writing.writer import PendingGeneration, SessionWriter

POLL_SECONDS = 0.1
"""Time between two looks for commands while nothing comes."""
ATTEMPTS = 3
"""Attempts of one prompt at a server that answers."""
BACK_OFF_SECONDS = (1.0, 2.0, 4.0, 8.0, 15.0)
"""Waits for a server that is gone, before the run ends; its prompts stay to be done."""
CHAIN = "chain"
UNKNOWN_TEXT = "▯"
"""Stands where a token's text is not known."""
Progress = Callable[[str, float | None, float | None, str], None]


@dataclass
class _Asked:
    """A prompt in flight."""

    generation: PendingGeneration
    reading: Reading
    flight: Flight
    rounds: int = 0
    noted: bool = False


class ServerRun:
    """A claimed session with its server at hand; a context, which closes the connections.

    `before` is the session as it was recorded before. Raises `ServerError` where the server cannot be used, and
    `Refused` where the session was begun with another one, unless `force`.
    """

    def __init__(
        self,
        writer: SessionWriter,
        control: Control,
        progress: Progress,
        before: SessionSummary,
        *,
        force: bool,
    ) -> None:
        self._writer, self._control, self._progress = writer, control, progress
        self._config = config = RunConfig.from_dict(before.config)
        self._bounds = Bounds.of_tokens(config.max_new_tokens)
        self._open = ExitStack()
        self._client = self._connect(config.server)
        self._server = recognise(self._client)
        self._model = choose_model(self._server, config.model, config.server)
        self._vocabulary = f"server session {before.id}"
        self._pieces = Pieces()
        progress("asking what it tells of rounds", None, None, "")
        self._source = choose_source(
            self._client, self._server, self._model, self._pieces, config.concurrency, config.vllm_dir
        )
        if self._source.method:
            self._server = replace(self._server, method=self._source.method)
        self._longest = max(_longest(before.tree), self._source.drafted)
        """The longest draft so far."""
        self._named = 0
        self._asked_method = False
        self._plain = self._plain_server()
        if before.server is not None:
            self._resume(before, force=force)
        self._describe()
        self._limits = Limits(config, control.idle.seconds)
        self._events: queue.Queue[Event] = queue.Queue(QUEUED)
        self._flying: dict[Flight, _Asked] = {}
        self._attempts: dict[int, int] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for asked in self._flying.values():
            asked.flight.drop()
        self._open.close()

    def ask_prompts(self) -> None:
        """Ask for every pending prompt. Raises `Stopped` when the run is to end before that."""
        pending = deque(self._writer.pending_generations())
        self._progress("decoding", None, None, "")
        self._writer.set_status("running")
        while pending or self._flying:
            self._obey(pending)
            while pending and len(self._flying) < self._config.concurrency:
                self._take_off(pending.popleft(), pending)
            try:
                event = self._events.get(timeout=POLL_SECONDS)
            except queue.Empty:
                self._control.listen(self._writer)
                continue
            if asked := self._flying.get(event.flight):
                self._hear(asked, event, pending)

    def _obey(self, pending: deque[PendingGeneration]) -> None:
        """Obey commands and limits; a skip ends the prompt that has been in flight for longest."""
        limit = self._limits.reached(self._control.idle.seconds)
        if limit is not None:
            raise LimitReached(limit)
        if not self._control.due():
            return
        try:
            self._control.check(self._writer)
        except Skipped:
            oldest = next(iter(self._flying.values()), None)
            if oldest is not None:
                self._drop(oldest)
                self._finish(oldest.generation, "skipped", output="", reason="skipped")
            elif pending:
                self._finish(pending.popleft(), "skipped", output="", reason="skipped")

    def _take_off(self, generation: PendingGeneration, pending: deque[PendingGeneration]) -> None:
        """Send a prompt."""
        try:
            reading = self._source.read(self._question(generation))
        except ServerError as error:  # some sources ask the server first
            self._fail(generation, error, pending)
            return
        client = Client(self._config.server, self._config.api_key_env, self._bounds)
        flight = Flight(
            client,
            reading.path,
            reading.body(),
            self._events,
            {**self._labels(generation), **reading.headers},
            self._source.learn,
        )
        self._writer.start_generation(generation.id)
        self._flying[flight] = _Asked(generation, reading, flight)
        flight.start()

    def _hear(self, asked: _Asked, event: Event, pending: deque[PendingGeneration]) -> None:
        """Take up one event of a prompt in flight."""
        try:
            if event.error is not None:
                raise event.error
            if event.data is not None:
                self._record(asked, asked.reading.feed(event.data, event.at))
                return
            answer = asked.reading.close()
        except ServerError as error:
            self._drop(asked)
            self._fail(asked.generation, error, pending)
            return
        self._record(asked, answer.rounds)
        if not asked.noted or answer.prompt_tokens is not None:
            self._writer.note_prompt(asked.generation.id, answer.prompt_tokens, asked.reading.first_token())
        for note in answer.notes:
            self._writer.add_event("rounds", note, asked.generation.id)
        self._drop(asked)
        self._finish(asked.generation, "finished", output=answer.text, reason=answer.reason)
        self._name_tree()
        self._learn_method()
        if self._plain is not None:
            self._measure_plain(self._plain, asked.generation)

    def _learn_method(self) -> None:
        """Ask llama.cpp once how it drafts: it says so of requests that it had."""
        if self._server.method or self._server.kind != LLAMA or self._asked_method:
            return
        with suppress(ServerError):  # the prompt is done, and the next will tell whether the server is gone
            method = recognise(self._client).method
            self._asked_method = True
            self._server = replace(self._server, method=method)
            self._describe_server()

    def _measure_plain(self, plain: PlainServer, generation: PendingGeneration) -> None:
        """Ask the same without speculation, which is no time of the run, obeying commands; a skip gives it up.

        A fault is an event: the prompt itself is done.
        """
        round_ms = self._writer.mean_round_ms(generation.id)
        self._control.idle.hold("plain decoding")
        try:
            measured = plain.measure(self._question(generation))
            while measured.empty():
                self._sleep(POLL_SECONDS)
            result = measured.get()
        except Skipped:
            return
        finally:
            self._control.idle.release("plain decoding")
        if isinstance(result, ServerError):
            self._writer.add_event("baseline", f"plain decoding could not be measured: {result}")
        else:
            self._writer.add_baseline(*result, round_ms)

    def _record(self, asked: _Asked, rounds: list[ServerRound] | tuple[ServerRound, ...]) -> None:
        first = asked.reading.first_token()
        if new := self._pieces.take_new():
            self._writer.add_tokens(self._vocabulary, new)
        if not asked.noted and first is not None:
            asked.noted = True
            self._writer.note_prompt(asked.generation.id, None, first)
        for each in rounds:
            asked.rounds += 1
            self._writer.record_round(asked.generation.id, to_record(asked.rounds, each))
            self._longest = max(self._longest, each.drafted)
            self._limits.count(each.drafted, each.emitted)
            self._control.listen(self._writer)

    def _fail(
        self, generation: PendingGeneration, error: ServerError, pending: deque[PendingGeneration]
    ) -> None:
        """Try a prompt again, fail it, or end the run where the server is gone; the prompt then stays to be done."""
        tries = self._attempts[generation.id] = self._attempts.get(generation.id, 0) + 1
        if error.everywhere:
            self._writer.restart_generation(generation.id)
            raise error
        if error.passing:
            self._writer.restart_generation(generation.id)
            self._writer.add_event("retry", f"{error}; trying again", generation.id)
            try:
                self._wait_for_server(error, tries)
            except Skipped:
                self._finish(generation, "skipped", output="", reason="skipped")
                return
            if tries < ATTEMPTS:
                pending.appendleft(generation)
                return
        self._finish(generation, "failed", output="", error=str(error))

    def _wait_for_server(self, error: ServerError, tries: int) -> None:
        """Return when the server answers, and is the same. Raises `ServerError` when it stays away."""
        for seconds in BACK_OFF_SECONDS[tries - 1 :]:
            self._progress(WAITING, None, None, "")
            self._sleep(seconds)
            try:
                again = recognise(self._client)
                if self._server.method:
                    again = replace(again, method=asked_method(self._client, again, self._model))
            except ServerError as trouble:
                error = trouble
                continue
            if (again.kind, again.models) != (self._server.kind, self._server.models):
                raise ServerError(
                    f"{self._config.server} is another server than before: {again.kind} with "
                    f"{', '.join(again.models)[:80]}; start the one before, then spectui run --resume"
                )
            if changes := again.changes(self._server.version, self._server.method):
                raise ServerError(
                    f"{self._config.server} is not as before: {'; '.join(changes)}; start it as it was, then"
                    " spectui run --resume"
                )
            self._progress("decoding", None, None, "")
            return
        raise ServerError(f"{error}; nothing is lost: when it is back, spectui run --resume goes on")

    def _sleep(self, seconds: float) -> None:
        """Sleep, obeying commands. Raises `Stopped` or `Skipped`."""
        end = time.monotonic() + seconds
        while True:
            self._control.listen(self._writer)
            if self._control.due():
                self._control.check(self._writer)
            if time.monotonic() >= end:
                return
            self._control.wait(min(POLL_SECONDS, seconds))

    def _drop(self, asked: _Asked) -> None:
        asked.flight.drop()
        self._flying.pop(asked.flight, None)

    def _finish(
        self,
        generation: PendingGeneration,
        status: str,
        *,
        output: str,
        reason: str | None = None,
        error: str | None = None,
    ) -> None:
        self._writer.finish_generation(
            generation.id, status, output=output, finish_reason=reason, error=error
        )

    def _connect(self, address: str) -> Client:
        key_env = key_for(address, self._config.server, self._config.api_key_env)
        return self._open.enter_context(Client(address, key_env, self._bounds))

    def _plain_server(self) -> PlainServer | None:
        if not self._config.baseline_server:
            return None
        self._progress("looking for the server without speculation", None, None, "")
        return PlainServer(self._connect(self._config.baseline_server), self._config.model)

    def _question(self, generation: PendingGeneration) -> Question:
        """A prompt as it is sent."""
        config = self._config
        if generation.messages is None:
            messages: list[dict[str, str]] = [{"role": "user", "content": generation.prompt_text}]
        else:
            messages = objects(from_json(generation.messages))
        extra: dict[str, Any] = {}
        if self._source.name == RECORDER:
            extra["vllm_xargs"] = {"task": generation.task}
        if config.template_args:
            extra["chat_template_kwargs"] = config.template_args
        if not config.greedy:
            # What servers set by themselves would make it another distribution than was asked for.
            extra |= (
                {"top_k": 0, "min_p": 0.0}
                if self._server.kind in (LLAMA, VLLM)
                else {"top_k": -1, "min_p": 0.0}
            )
        return Question(
            self._model,
            tuple(messages),
            config.max_new_tokens,
            config.temperature,
            config.top_p,
            (config.seed + generation.position) % 2**31,
            extra,
        )

    def _labels(self, generation: PendingGeneration) -> Mapping[str, str]:
        """The header by which SGLang counts tasks apart, where it was started so; others leave it alone."""
        return {"x-custom-labels": json.dumps({"task": generation.task})}

    def _resume(self, before: SessionSummary, *, force: bool) -> None:
        """Prepare a session that was begun before; raises `Refused` when its rounds would be mixed."""
        then = before.server
        assert then is not None
        if before.rounds and then.method:
            self._server = replace(self._server, method=asked_method(self._client, self._server, self._model))
        drafted, longest = self._source.drafted, _longest(before.tree)
        same_source = before.source == self._source.name and before.rounds_from.exact
        differing = [
            f"{what} is '{now}', not '{was}'"
            for what, was, now in (
                ("the kind of server", then.kind, self._server.kind),
                ("the model", then.model, self._model),
                ("the source of rounds", before.source, self._source.name),
                ("its longest draft", longest, drafted if drafted and longest and same_source else longest),
            )
            if was != now
        ]
        differing += self._server.changes(then.version, then.method)
        if before.rounds and differing and not force:
            raise Refused(
                f"session '{before.name}' cannot go on as it began: {'; '.join(differing)}"
                " (--force goes on all the same)"
            )
        if before.rounds and differing:
            self._writer.add_event("forced", f"resumed although {'; '.join(differing)}")
        self._pieces.load(self._writer.tokens(self._vocabulary))
        again = self._writer.restart_unfinished()
        half_done = {0: "no prompt was half-done", 1: "1 half-done prompt began again"}
        self._writer.add_event("resumed", half_done.get(again, f"{again} half-done prompts began again"))

    def _describe_server(self) -> None:
        """Record the server, as far as it says what it is."""
        method = self._server.method
        server = Server(
            self._server.kind,
            self._config.server,
            self._model,
            self._server.version,
            method,
            self._config.baseline_server,
        )
        self._writer.describe(
            target=self._model.rpartition("/")[2] if self._model.startswith("/") else self._model,
            drafter=method or None,
            device=server.name,
            tokenizer_id=self._vocabulary,
            versions={
                "python": platform.python_version(),
                "spectui": version("spectui"),
                self._server.kind: server.version,
            },
            source=self._source.name,
            server_json=server.to_json(),
        )

    def _name_tree(self) -> None:
        """Record the longest draft so far, of servers that draft chains."""
        if self._longest > self._named and self._server.kind in (LLAMA, VLLM):
            self._named = self._longest
            self._writer.describe(tree=f"{CHAIN}:{self._longest}")

    def _describe(self) -> None:
        """Record the server and what it tells of rounds."""
        self._describe_server()
        self._name_tree()
        self._writer.add_tokens(self._vocabulary, {UNKNOWN_TOKEN: UNKNOWN_TEXT.encode()})
        for note in self._source.notes:
            self._writer.add_event("server", note)


def _longest(tree: str) -> int:
    """The longest draft that a session's tree names; 0 where it names none."""
    chain = tree.removeprefix(f"{CHAIN}:")
    return int(chain) if chain.isdecimal() else 0
