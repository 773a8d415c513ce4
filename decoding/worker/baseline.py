"""Plain decoding, one token at a time with the same target: the baseline of every speed-up.

A few tokens tell little on a machine that others use, too, so plain decoding is measured again and again while a
run goes on, in a small share of its time; all measurements are kept.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from statistics import median

from spectui.decoding.engine import SpeculativeDecoder
from spectui.decoding.errors import DecodingError, one_line
from spectui.decoding.machine.energy import decoding_now
from spectui.decoding.worker.prompt_runner import out_of_memory
from spectui.store.writing.writer import SessionWriter

TOKENS = 6
"""Tokens of one measurement."""
SHARE = 0.015
"""Share of a run's time that measurements after the first may take."""
GROWTH = 0.03
"""Share of the run so far that passes between two measurements, so that a week's run has a few hundred."""
LEAST_SECONDS = 1.0
"""Least time between two measurements."""

log = logging.getLogger("spectui.worker")


def plain_decoder(decoder: SpeculativeDecoder) -> SpeculativeDecoder:
    """A decoder of the same models and configuration without speculation, with a cache of its own."""
    return SpeculativeDecoder(decoder.config.changed(speculate=False), models=decoder.models)


def plain_ms_per_token(decoder: SpeculativeDecoder, prompt: str, tokens: int) -> float:
    """Median milliseconds per token over `tokens` rounds of plain decoding, the first one left out.

    Prefill does not count. Raises `DecodingError` when the prompt does not fit.
    """
    times: list[float] = []
    for round_ in plain_decoder(decoder).generate(prompt):
        times.append(round_.draft_ms + round_.verify_ms + round_.other_ms)
        if len(times) > tokens:
            break
    return median(times[1:] or times)


class Baselines:
    """Measures plain decoding from time to time during a run; that time is no decoding time of the run.

    `measure` takes a prompt and keeps the result. It is called between prompts, where no buffer is in use, and
    may take `SHARE` of the run's time. What it raises is raised by `take`.
    """

    def __init__(self, measure: Callable[[str], None], clock: Callable[[], float] = time.monotonic) -> None:
        self._measure = measure
        self._clock = clock
        self._begun = self._due = clock()

    def take(self, prompt: str) -> None:
        """Measure now, on this prompt."""
        decoding = decoding_now.is_set()
        decoding_now.clear()  # its energy is no part of what the session's tokens took
        begun = self._clock()
        try:
            self._measure(prompt)
        finally:
            if decoding:
                decoding_now.set()
            now = self._clock()
            self._due = now + max((now - begun) / SHARE, GROWTH * (now - self._begun), LEAST_SECONDS)

    def take_if_due(self, prompt: str) -> None:
        """Measure when the last time is long enough ago and there is memory for it."""
        if self._clock() < self._due:
            return
        try:
            self.take(prompt)
        except Exception as error:
            if not out_of_memory(error):
                raise
            log.warning("no memory to measure plain decoding again: %s", one_line(error))


def measure_baseline(decoder: SpeculativeDecoder, prompt: str, writer: SessionWriter) -> None:
    """Measure plain decoding on the same models, and keep the result; a prompt that does not fit gives none.

    Any other error is an event: a prompt must not fail because its baseline could not be measured.
    """
    try:
        ms = plain_ms_per_token(decoder, prompt, TOKENS)
    except DecodingError:
        return
    except Exception as error:
        if out_of_memory(error):
            raise
        log.exception("plain decoding could not be measured")
        writer.add_event("baseline", f"plain decoding could not be measured: {one_line(error)}")
        return
    writer.add_baseline(ms, TOKENS)
