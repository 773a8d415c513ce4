"""Decoding of a session's prompts, one after the other: an error of one is recorded with it, and the run goes on."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from spectui.decoding.config import RunConfig
from spectui.decoding.engine import SpeculativeDecoder
from spectui.decoding.errors import DecodingError, one_line
from spectui.decoding.models.load import LoadedModels
from spectui.decoding.rounds import Round
from spectui.decoding.tokens.chat import PromptInput
from spectui.decoding.worker.control import Control, LimitReached, Limits, Skipped, Stopped
from spectui.decoding.worker.memory import free_unused, out_of_memory
from spectui.decoding.worker.recorder import Recorder
from spectui.decoding.worker.run_writer import RunWriter
from spectui.decoding.worker.tree_plan import PlanFollower
from spectui.prompts.chat import from_json
from spectui.store.errors import BadRound, StoreError
from spectui.store.writing.writer import PendingGeneration

if TYPE_CHECKING:
    from spectui.decoding.worker.baseline import Baselines

SMALLEST_TREE = "chain:1"
"""Tree for when there is no memory for more; every drafter can fill it."""

LONGEST_LOOP = 128
"""Tokens of the longest repeated part that is looked for."""
LOOP_TIMES = 4
"""Fewest repetitions at the end, without a gap, that count as endless..."""
LOOP_TOKENS = 64
"""...and fewest tokens of them: tables and lists repeat a little, too."""

log = logging.getLogger("spectui.worker")


class PromptRunner:
    """Decodes prompts and writes their rounds."""

    def __init__(
        self,
        writer: RunWriter,
        control: Control,
        config: RunConfig,
        models: LoadedModels,
        plan: PlanFollower | None = None,
    ) -> None:
        self.baselines: Baselines | None = None
        """Measurements of plain decoding to take during the run, between rounds where they disturb none."""
        self._writer = writer
        self._control = control
        self._config = config
        self._models = models
        self._plan = plan
        self._idle = control.idle
        self._limits = Limits(config, self._idle.seconds)
        self._capture_noted = False
        self._notes = set[str]()
        self.decoder = SpeculativeDecoder(config, models=models)
        self._recorder = Recorder(writer, self.decoder, after=lambda: control.listen(writer), idle=self._idle)

    def run(self, generation: PendingGeneration) -> None:
        """Decode one prompt to its end. Raises `Stopped` or, when nothing can be written, `StoreError`."""
        try:
            self._decode(generation)
            self._note_capture()
        except Exception as error:
            if not out_of_memory(error):
                raise
            failed = one_line(error)
        else:
            return
        # Outside the handler, whose traceback would hold on to what the failed round had allocated.
        self._decode_smaller(generation, failed)

    def check(self) -> None:
        """Raise `Skipped`, `Stopped` or `LimitReached` when it is time for that; called between rounds."""
        if self._control.due():
            # What is paused or ended is all written.
            self._recorder.flush()
            self._control.check(self._writer)
        limit = self._limits.reached(self._idle.seconds)
        if limit is not None:
            raise LimitReached(limit)

    def _decode_smaller(self, generation: PendingGeneration, failed: str) -> None:
        """Decode a prompt once more with the smallest tree; the next one has its own tree again."""
        log.warning("prompt %s: %s; once more with %s", generation.id, failed, SMALLEST_TREE)
        with contextlib.suppress(BadRound):
            self._recorder.flush()
        self._writer.add_event("memory", f"{failed}; once more with the tree {SMALLEST_TREE}", generation.id)
        self._writer.restart_generation(generation.id)
        try:
            self._replace_decoder(self._smaller())
            self._decode(generation)
        except Exception as error:
            if not out_of_memory(error):
                raise
            self._writer.finish_generation(generation.id, "failed", error=one_line(error))
        finally:
            self._replace_decoder(self._config)

    def _smaller(self) -> RunConfig:
        return self._config.changed(draft=self._config.base_draft, tree=SMALLEST_TREE)

    def _replace_decoder(self, config: RunConfig) -> None:
        if hasattr(self, "decoder"):
            del self.decoder
        free_unused()
        self.decoder = SpeculativeDecoder(config, models=self._models)

    def _decode(self, generation: PendingGeneration) -> None:
        """Make one attempt. Running out of memory is left to the caller."""
        writer, tokens = self._writer, list[int]()
        try:
            ids = self.decoder.encode(prompt_input(generation), self._note_once)
            writer.start_generation(generation.id, len(ids))
            finish = None
            choice = self._choose(generation.task)
            if self._config.independent:
                self.decoder.forget_prompts()
            for measured in self.decoder.generate(ids, position=generation.position):
                round_ = self._idle.without_standstills(measured)
                self._note_standstills(generation, measured)
                ms = self._recorder.record(generation.id, round_, choice)
                self._limits.count(round_.tree.size, len(round_.tokens))
                tokens += round_.tokens
                finish = round_.finish
                if self.baselines is not None and not round_.captured:
                    self.baselines.add_round(ms, round_.tree.size)
                if finish is None:
                    self._measure_plain(generation.prompt_text)
                    self.check()
            self._recorder.flush()
            if finish != "eos":
                self._note_loop(generation.id, tokens)
            self._end(generation.id, "finished", tokens, reason=finish)
        except Skipped:
            self._end(generation.id, "skipped", tokens, reason="skipped")
        except Stopped:
            self._end(generation.id, "skipped", tokens, reason="stopped")
            raise
        except StoreError as error:
            if not isinstance(error, BadRound):
                raise
            self._end(generation.id, "failed", tokens, error=str(error))
        except Exception as error:
            if out_of_memory(error):
                raise
            if not isinstance(error, DecodingError):
                log.exception("prompt %s failed", generation.id)
            self._end(generation.id, "failed", tokens, error=one_line(error))

    def _note_standstills(self, generation: PendingGeneration, round_: Round) -> None:
        """Record that the process stood still, in the round that has just ended or before it."""
        standstills = self._idle.take_standstills()
        if standstills:
            began = time.perf_counter() - (round_.draft_ms + round_.verify_ms + round_.other_ms) / 1e3
            for standstill in standstills:
                where = "in" if standstill.end > began else "before"
                self._writer.add_event(
                    "standstill",
                    f"{standstill.text} {where} round {round_.number} of prompt {generation.position + 1}",
                    generation.id,
                )

    def _measure_plain(self, prompt: str) -> None:
        """Measure plain decoding between two rounds when it is time for that; nothing is being written meanwhile."""
        if self.baselines is not None and self.decoder.rounds.interruptible and self.baselines.due:
            self._recorder.flush()
            self.baselines.take(prompt)

    def _choose(self, task: str) -> int | None:
        """Give the decoder the tree of a task; returns what it was chosen by, None with one tree for all."""
        if self._plan is None or not self.decoder.config.plan_file:
            return None
        return self._plan.set_tree(self.decoder, task)

    def _end(
        self,
        generation_id: int,
        status: str,
        tokens: list[int],
        *,
        reason: str | None = None,
        error: str | None = None,
    ) -> None:
        """Close a prompt. One whose tokens the tokenizer cannot decode has failed, whatever else happened."""
        text = ""
        try:
            self._recorder.flush()
        except BadRound as refused:
            status, reason, error = "failed", None, error or str(refused)
        try:
            text = self.decoder.models.tokenizer.decode(tokens)
        except Exception as undecodable:
            log.exception("the output of prompt %s", generation_id)
            status, reason = "failed", None
            error = error or f"the tokenizer cannot decode the output: {one_line(undecodable)}"
        self._writer.finish_generation(generation_id, status, output=text, finish_reason=reason, error=error)

    def _note_once(self, note: str) -> None:
        """Record a change made to prompts of this run, once for all of them."""
        if note not in self._notes:
            self._notes.add(note)
            self._writer.add_event("template", note)

    def _note_capture(self) -> None:
        """Record once that forwards of a GPU could not be captured, and why."""
        reason = self.decoder.rounds.capture_failure()
        if reason is not None and not self._capture_noted:
            self._capture_noted = True
            self._writer.add_event("capture", f"forwards run one kernel after the other: {reason}")

    def _note_loop(self, generation_id: int, tokens: list[int]) -> None:
        loop = find_loop(tokens)
        if loop is not None:
            length, start = loop
            what = "its last token" if length == 1 else f"its last {length} tokens"
            self._writer.add_event("repetition", f"repeats {what} from token {start + 1} on", generation_id)


def prompt_input(generation: PendingGeneration) -> PromptInput:
    """The text or conversation of a prompt, as `SpeculativeDecoder.encode` takes it. Raises `DecodingError` for a
    damaged one."""
    if generation.messages is None:
        return generation.prompt_text
    try:
        return from_json(generation.messages)
    except (TypeError, ValueError) as error:
        raise DecodingError(f"the database holds no conversation for this prompt: {error}") from None


def find_loop(tokens: Sequence[int]) -> tuple[int, int] | None:
    """Length of the part that the end of a text repeats, and index of its first token: ``(3, 40)``; None for none."""
    end = len(tokens)
    for length in range(1, min(LONGEST_LOOP, end // LOOP_TIMES) + 1):
        start = end - length
        while start > 0 and tokens[start - 1] == tokens[start - 1 + length]:
            start -= 1
        if end - start >= max(LOOP_TOKENS, LOOP_TIMES * length):
            return length, start
    return None
