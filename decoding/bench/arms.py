"""Arms of a benchmark: transformers' loops, our loop, our loop recorded, and recorded with a dashboard attached."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import signal
import struct
import subprocess
import termios
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch

from spectui import prompts
from spectui.decoding.config import RunConfig
from spectui.decoding.engine import SpeculativeDecoder
from spectui.decoding.errors import DecodingError
from spectui.decoding.models.generation_settings import GenerationSettings
from spectui.decoding.models.load import LoadedModels
from spectui.decoding.phases import phase
from spectui.decoding.processes import python, start
from spectui.decoding.rounds import Round
from spectui.decoding.target.sizes import text_config
from spectui.decoding.tokens.vocabulary import Vocabulary
from spectui.decoding.trees.shape import ROOT
from spectui.decoding.worker.recorder import Recorder
from spectui.store.counts.metrics import at_risk
from spectui.store.database import open_database
from spectui.store.records import PromptRecord
from spectui.store.sessions import create_session
from spectui.store.writing.writer import SessionWriter

RECORD, TEXT = "wait for recording", "text and status"
"""Phases of a recorded arm beside those of `decoding.phases`."""
LOOKUP_TOKENS = 10
"""`prompt_lookup_num_tokens` of transformers' prompt lookup: the value its documentation uses."""


@dataclass
class Outcome:
    """One arm on one prompt; `seconds` is wall time from prompt ids to the last token, prefill included."""

    tokens: list[int]
    seconds: float
    rounds: int = 0
    forward_seconds: float = 0.0
    draft_ms: list[float] = field(default_factory=list)
    verify_ms: list[float] = field(default_factory=list)
    at_risk: Counter[int] = field(default_factory=Counter)
    """By depth: rounds whose path reached the depth above and whose tree went on from there."""
    reached: Counter[int] = field(default_factory=Counter)
    """By depth: those of them whose path went on to the depth."""

    def count(self, round_: Round) -> None:
        """Add a round, its tokens excepted."""
        self.rounds += 1
        self.draft_ms.append(round_.draft_ms)
        self.verify_ms.append(round_.verify_ms)
        length = len(round_.path)
        for depth, parent in enumerate([ROOT, *round_.path], start=1):
            if (round_.tree.parent == parent).any() and at_risk(True, depth, length, round_.cut):
                self.at_risk[depth] += 1
                self.reached[depth] += depth <= length

    @property
    def tokens_per_second(self) -> float:
        """Emitted tokens over wall time."""
        return len(self.tokens) / self.seconds


class Arm(Protocol):
    """A way to decode a prompt."""

    def run(self, ids: list[int], position: int, *, warm_up: bool = False) -> Outcome:
        """Decode one prompt; `position` is its place in the run."""


class GenerateArm:
    """transformers' `generate`: plain, with an assistant model, or with prompt lookup."""

    def __init__(
        self, model: Any, config: RunConfig, vocabulary: Vocabulary, *, assistant: Any | None, lookup: bool
    ) -> None:
        self._model = model
        self._options: dict[str, Any] = {
            "do_sample": not config.greedy,
            "max_new_tokens": config.max_new_tokens,
            **GenerationSettings(model, config, vocabulary).neutral,
        }
        if not config.greedy:
            self._options |= {"temperature": config.temperature, "top_p": config.top_p, "top_k": 0}
        if assistant is not None:
            self._options["assistant_model"] = assistant
        elif lookup:
            self._options["prompt_lookup_num_tokens"] = LOOKUP_TOKENS

    def run(self, ids: list[int], position: int, *, warm_up: bool = False) -> Outcome:
        """One `generate` call."""
        start = time.perf_counter()
        tensor = torch.tensor([ids], device=self._model.device)
        with torch.inference_mode():
            out = self._model.generate(
                tensor, attention_mask=torch.ones_like(tensor), pad_token_id=0, **self._options
            )
        tokens = [int(t) for t in out[0, len(ids) :]]
        return Outcome(tokens, time.perf_counter() - start)


def fit_assistant(model: Any, draft: Any | None, tell: Callable[[str], None]) -> Any | None:
    """`draft` where transformers can assist `model` with it, else None, and a line on the reason.

    transformers takes models of padded vocabularies for ones of different tokenizers.
    """
    if draft is None:
        return None
    rows, of_draft = (int(text_config(one.config).vocab_size) for one in (model, draft))
    if rows == of_draft:
        return draft
    tell(
        f"transformers' assisted mode is left out: it needs a draft of {rows} tokens (vocab_size), and this one has "
        f"{of_draft}"
    )
    return None


class EngineArm:
    """Our engine with the drafter of its configuration, which learns from this arm alone."""

    def __init__(self, decoder: SpeculativeDecoder) -> None:
        self.decoder = decoder

    def run(self, ids: list[int], position: int, *, warm_up: bool = False) -> Outcome:
        """See `Arm.run`."""
        outcome = Outcome([], 0.0)
        rounds: list[Round] = []
        before = self._forwards()
        start = time.perf_counter()
        for round_ in self.decoder.generate(ids, position=position):
            self.each(round_, position, warm_up)
            outcome.tokens += round_.tokens
            rounds.append(round_)
        self.flush()
        outcome.seconds = time.perf_counter() - start
        outcome.forward_seconds = self._forwards() - before
        for round_ in rounds:
            outcome.count(round_)
        return outcome

    def each(self, round_: Round, position: int, warm_up: bool) -> None:
        """Work on a round beside counting it; none here."""

    def flush(self) -> None:
        """Work behind the last round of a prompt; none here."""

    def _forwards(self) -> float:
        return self.decoder.target.forward_seconds + self.decoder.drafter.seconds_in_models()


class RecordedArm(EngineArm):
    """Our engine with every round written to a database, exactly as the worker does."""

    def __init__(
        self, database: Path, config: RunConfig, models: LoadedModels, chosen: Sequence[prompts.Prompt]
    ) -> None:
        super().__init__(SpeculativeDecoder(config, models=models))
        self.database = database
        db = open_database(database)
        self.session_id = create_session(
            db,
            name="bench",
            config_json=config.to_json(),
            target=config.target,
            drafter=config.draft_name,
            tree=config.tree_spec,
            prompts=[PromptRecord(p.id, p.task, p.text) for p in chosen],
        )
        self.writer = SessionWriter(db, self.session_id)
        self.writer.claim()
        self.writer.describe(device=str(models.target.device), tokenizer_id=models.tokenizer.identity)
        self.writer.set_status("running")
        self.recorder = Recorder(self.writer, self.decoder)
        self._generations = self.writer.pending_generations()

    def run(self, ids: list[int], position: int, *, warm_up: bool = False) -> Outcome:
        """As `EngineArm.run`, between the start and the end of a generation."""
        if warm_up:
            return super().run(ids, position, warm_up=True)
        generation = self._generations[position]
        with phase(TEXT):
            self.writer.start_generation(generation.id, len(ids))
        outcome = super().run(ids, position)
        with phase(TEXT):
            self.writer.finish_generation(generation.id, "finished", finish_reason="length")
        return outcome

    def each(self, round_: Round, position: int, warm_up: bool) -> None:
        """Record it."""
        if not warm_up:
            with phase(RECORD):
                self.recorder.record(self._generations[position].id, round_)

    def flush(self) -> None:
        """Wait until the last round is written."""
        with phase(RECORD):
            self.recorder.flush()


CATCH_UP_SECONDS, DASHBOARD_START_SECONDS = 1.0, 4.0
"""Waits until a dashboard has caught up after a stop, and until it has started: neither is a part of watching."""


class Screen:
    """A dashboard in a terminal of its own that is stopped (SIGSTOP) while other arms run."""

    def __init__(self, process: subprocess.Popen[bytes] | None) -> None:
        self._process = process

    @contextlib.contextmanager
    def awake(self, wanted: bool) -> Iterator[None]:
        """Let the dashboard run inside if it is `wanted`."""
        if self._process is None or not wanted:
            yield
            return
        os.killpg(self._process.pid, signal.SIGCONT)
        time.sleep(CATCH_UP_SECONDS)
        try:
            yield
        finally:
            os.killpg(self._process.pid, signal.SIGSTOP)


@contextlib.contextmanager
def attached_dashboard(database: Path, session_id: int, *, wanted: bool) -> Iterator[Screen]:
    """A real `spectui attach` of 120x40 on a pseudo-terminal whose output is read and dropped."""
    if not wanted:
        yield Screen(None)
        return
    master, terminal = pty.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 120, 0, 0))
    # A process of its own reads what is written, as an SSH server would: reading here would cost the arm.
    reader = start(["cat"], stdin=master, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    process = start(
        python("-m", "spectui.tui", "attach", str(session_id), "--db", str(database)),
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
        environment={"TERM": "xterm-256color"},
        start_new_session=True,
    )
    try:
        time.sleep(DASHBOARD_START_SECONDS)
        if process.poll() is not None:
            raise DecodingError(
                "the dashboard ended at once; see what 'spectui attach' says, or use --no-dashboard"
            )
        os.killpg(process.pid, signal.SIGSTOP)
        yield Screen(process)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        reader.kill()
        reader.wait()
        os.close(master)
        os.close(terminal)
