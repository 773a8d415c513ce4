"""Plain decoding, one token at a time with the same target: the baseline of every speed-up.

A few tokens tell little on a machine that others use, too. So a token is decoded without speculation now and then all
through a run, in a small share of its time, and kept with the time of the rounds around it.
"""

from __future__ import annotations

import logging
import math
import time
import traceback
from collections import deque
from collections.abc import Callable
from itertools import islice
from statistics import fmean, median
from typing import NamedTuple

from spectui.decoding.engine import SpeculativeDecoder
from spectui.decoding.errors import DecodingError, one_line
from spectui.decoding.machine.energy import decoding_now
from spectui.decoding.rounds import Round
from spectui.decoding.worker.memory import free_unused, out_of_memory
from spectui.decoding.worker.run_writer import RunWriter

TOKENS = 6
"""Tokens of a measurement between prompts; behind a round's prefix it is one."""
SHARE = 0.015
"""Share of a run's time that measurements after the first may take."""
GROWTH = 0.01
"""Share of the run so far that passes between two measurements, so that a week's run has a thousand."""
LEAST_SECONDS = 1.0
"""Least time between two measurements."""
BESIDE = 4
"""Rounds before a measurement, and after it, that it is compared with."""
HELD_UP = 1.5
"""Rounds that took so many times the median of those beside a measurement were held up by something else, unless they
had more rows: so many times as many may take so many times as long."""

log = logging.getLogger("spectui.worker")


def plain_decoder(decoder: SpeculativeDecoder) -> SpeculativeDecoder:
    """A decoder of the same models and configuration without speculation, with a cache of its own."""
    return SpeculativeDecoder(decoder.config.changed(speculate=False), models=decoder.models)


def plain_ms_per_token(decoder: SpeculativeDecoder, prompt: str, tokens: int) -> float:
    """Median milliseconds per token over `tokens` rounds of plain decoding, the first one left out.

    Prefill does not count, and the decoder's cache is gone afterwards. Raises `DecodingError` when the prompt does not
    fit.
    """
    try:
        times = [total_ms(each) for each in islice(plain_decoder(decoder).generate(prompt), tokens + 1)]
    except Exception as error:
        traceback.clear_frames(error.__traceback__)  # they hold on to the decoder
        raise
    finally:
        free_unused()
    return median(times[1:] or times)


def total_ms(round_: Round) -> float:
    """All of a round's time."""
    return round_.draft_ms + round_.verify_ms + round_.other_ms


class _Waiting(NamedTuple):
    """A measurement, and the rounds beside it so far."""

    ms_per_token: float
    beside: list[tuple[float, int]]
    """Milliseconds and nodes."""
    enough: int
    """Rounds that there are when the last one behind it is known."""

    @property
    def round_ms(self) -> float:
        """Mean time of the rounds beside it but those that something else held up."""
        usual_ms = median(ms for ms, _ in self.beside)
        usual_rows = median(nodes + 1 for _, nodes in self.beside)
        return fmean(
            ms for ms, nodes in self.beside if ms <= HELD_UP * usual_ms * max(1.0, (nodes + 1) / usual_rows)
        )


class Baselines:
    """Measures plain decoding from time to time during a run; that time is no decoding time of the run.

    `measure` takes the current prompt and returns milliseconds per token of `tokens`. `keep` is handed both, and the
    milliseconds of a round beside them; `tell` the error after which nothing is measured again: no prompt fails because
    of its baseline.
    """

    def __init__(
        self,
        measure: Callable[[str], float],
        tokens: int,
        keep: Callable[[float, int, float], None],
        tell: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._measure = measure
        self._tokens = tokens
        self._keep = keep
        self._tell = tell
        self._clock = clock
        self._begun = self._due_at = clock()
        self._spent: float | None = None
        """Seconds of all measurements but the first, which every run needs; None before it."""
        self._before: deque[tuple[float, int]] = deque(maxlen=BESIDE)
        self._waiting: _Waiting | None = None

    @property
    def due(self) -> bool:
        """True when the last measurement is complete and long enough ago."""
        return self._waiting is None and self._clock() >= self._due_at

    def take(self, prompt: str) -> None:
        """Measure now, in `prompt`; where that does not fit, or without memory for it, there is none this time."""
        decoding = decoding_now.is_set()
        decoding_now.clear()  # its energy is no part of what the session's tokens took
        begun = self._clock()
        ms = None
        try:
            ms = self._measure(prompt)
        except DecodingError as error:
            log.info("plain decoding is not measured on this prompt: %s", error)
        except Exception as error:
            if not out_of_memory(error):
                log.exception("plain decoding could not be measured")
                self._tell(f"plain decoding could not be measured: {one_line(error)}")
                self._due_at = math.inf
                return
            log.warning("no memory to measure plain decoding: %s", one_line(error))
        finally:
            if decoding:
                decoding_now.set()
        now = self._clock()
        took = now - begun
        self._spent = 0.0 if self._spent is None else self._spent + took
        self._due_at = max(
            self._begun + (self._spent + took) / SHARE,
            now + GROWTH * (now - self._begun),
            now + LEAST_SECONDS,
        )
        if ms is not None:
            self._waiting = _Waiting(ms, list(self._before), len(self._before) + BESIDE)

    def add_round(self, ms: float, nodes: int) -> None:
        """A round has ended; the rounds before and after a measurement are compared with it."""
        self._before.append((ms, nodes))
        if self._waiting is not None:
            self._waiting.beside.append((ms, nodes))
            if len(self._waiting.beside) >= self._waiting.enough:
                self.finish()

    def finish(self) -> None:
        """Keep the last measurement, though fewer rounds came after it."""
        waiting, self._waiting = self._waiting, None
        if waiting is not None and waiting.beside:
            self._keep(waiting.ms_per_token, self._tokens, waiting.round_ms)


def baselines_of(decoder: Callable[[], SpeculativeDecoder], writer: RunWriter) -> Baselines:
    """Measurements of plain decoding for a session, by its current decoder."""
    between_rounds = decoder().rounds.interruptible

    def measure(prompt: str) -> float:
        if between_rounds:
            return total_ms(decoder().plain_round())
        return plain_ms_per_token(decoder(), prompt, TOKENS)

    return Baselines(
        measure,
        1 if between_rounds else TOKENS,
        writer.add_baseline,
        lambda text: writer.add_event("baseline", text),
    )
