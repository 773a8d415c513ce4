"""Stage 1: the target writes prompts and answers them; its choices and hidden states are kept with the text."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from spectui import prompts as bundled_prompts
from spectui.decoding.distill import prompts, shards
from spectui.decoding.distill.config import DistillConfig
from spectui.decoding.distill.initial import feature_layers
from spectui.decoding.distill.slots import SlotModel
from spectui.decoding.errors import DecodingError
from spectui.decoding.tokens.vocabulary import Vocabulary

USER_TOKENS = 64
"""Longest user message the target may write; a longer one is cut there and answered all the same."""

USER_TEMPERATURE = 1.0
WARM_SHARE, WARM_TEMPERATURE = 0.2, 0.7
"""Share of responses that are sampled instead of greedy, so that a head also meets what greedy avoids."""

SEQUENCES_PER_SHARD = 192
LEAST_RESPONSE = 8
"""Shorter responses teach nothing and are dropped."""

LOOP_REPEATS = 3
LOOP_TOKENS = 16
LOOP_PERIOD = 48
"""A response ends where its last `LOOP_REPEATS` stretches of one length (at most `LOOP_PERIOD`, together
at least `LOOP_TOKENS` tokens) are equal."""


@dataclass
class _Slot:
    """A sequence under way."""

    number: int
    task: int
    tokens: list[int]
    temperature: float
    open: bool
    answer_from: int = 0
    user_from: int = 0
    fed: int = 0
    best: list[int] = field(default_factory=list)


@dataclass(frozen=True)
class Template:
    """The chat template cut where the user's text stands: ids before, and ids from its end to the answer."""

    before: str
    after: list[int]

    @classmethod
    def of(cls, vocabulary: Vocabulary) -> Template:
        """Without a chat template the prompt is plain text and the answer follows at once.

        Raises `DecodingError` for a template of tokens that the model has no embedding for.
        """
        tokenizer = vocabulary.tokenizer
        if not getattr(tokenizer, "chat_template", None):
            return cls("", [])
        mark = "\u241fspectui\u241f"
        turn = [{"role": "user", "content": mark}]
        whole = tokenizer.apply_chat_template(turn, tokenize=False, add_generation_prompt=True)
        before, _, after = whole.partition(mark)
        ids: list[list[int]] = tokenizer([before, after], add_special_tokens=False)["input_ids"]
        if vocabulary.rows is not None:
            vocabulary.check([*ids[0], *ids[1]], vocabulary.rows)
        return cls(before, ids[1])


class Writer:
    """Keeps all slots busy and hands over finished sequences."""

    def __init__(self, model: Any, vocabulary: Vocabulary, config: DistillConfig, first: int) -> None:
        self._vocabulary, self._config = vocabulary, config
        self._template = Template.of(vocabulary)
        self._guard = prompts.Guard(
            [p.text for p in bundled_prompts.bundled()] + [p["prompt"] for p in prompts.heldout()]
        )
        capacity = config.prompt_tokens + config.max_new_tokens
        self._model = SlotModel(model, feature_layers(model), config.slots, capacity)
        self._generator = torch.Generator(device=model.device).manual_seed(config.seed * 1_000_003 + first)
        self._next = first
        self.refused = 0
        special = not self._template.before
        self._prefix = list(
            vocabulary.tokenizer(self._template.before, add_special_tokens=special)["input_ids"]
        )
        self._prefix_best: list[list[int]] = [[] for _ in range(config.slots)]
        """Per slot, the target's choices along the template's head, once the slot's cache holds it."""
        self._steps = 0
        self.slots = [self._start(index) for index in range(config.slots)]
        features = (len(feature_layers(model)), self._hidden(model))
        self._features = torch.zeros(config.slots, capacity, *features, dtype=model.dtype)
        self._final = torch.zeros(config.slots, capacity, features[1], dtype=model.dtype)

    @staticmethod
    def _hidden(model: Any) -> int:
        return int(model.config.get_text_config().hidden_size)

    def _start(self, index: int) -> _Slot:
        while True:
            number, self._next = self._next, self._next + 1
            start = prompts.start(self._config.seed, number)
            draw = np.random.default_rng([self._config.seed, number])
            warm = WARM_TEMPERATURE if draw.random() < WARM_SHARE else 0.0
            tokenizer = self._vocabulary.tokenizer
            special = not self._template.before
            ids = list(tokenizer(self._template.before + start.text, add_special_tokens=special)["input_ids"])
            if not ids:
                ids = [min(self._vocabulary.end_ids)]  # a blank start without a template: from nothing
            task = prompts.tasks().index(start.task)
            goes_on = start.open and bool(self._template.after)
            slot = _Slot(number, task, ids, warm, goes_on, user_from=len(ids))
            if not goes_on:
                slot.tokens += self._template.after
                slot.answer_from = len(slot.tokens)
            room = self._config.prompt_tokens - (USER_TOKENS + len(self._template.after) if goes_on else 0)
            if len(slot.tokens) <= room and self._guard.allows(start.text):
                # Every prompt begins with the template's head; a slot keeps what it computed for the first.
                if self._prefix_best[index] and slot.tokens[: len(self._prefix)] == self._prefix:
                    slot.fed = min(len(self._prefix), len(slot.tokens) - 1)
                    slot.best = self._prefix_best[index][: slot.fed]
                return slot
            self.refused += 1

    def close(self) -> None:
        """Give the model back as it was."""
        self._model.close()

    def step(self) -> list[shards.Sequence]:
        """One token for every slot; returns the sequences that ended."""
        slots = self.slots
        candidates = self._model.step([s.tokens[s.fed] for s in slots], [s.fed for s in slots])
        where = torch.arange(len(slots))
        position = torch.tensor([s.fed for s in slots])
        self._features[where, position] = self._model.features.to(self._features)
        self._final[where, position] = self._model.final.to(self._final)
        heat = [USER_TEMPERATURE if s.open else s.temperature for s in slots]
        drawn = self._model.draw(candidates, heat, self._generator).tolist()
        best = candidates[:, 0].tolist()
        done = []
        self._steps += 1
        for index, slot in enumerate(slots):
            slot.best.append(best[index])
            slot.fed += 1
            if self._steps == len(self._prefix) and slot.tokens[: slot.fed] == self._prefix:
                self._prefix_best[index] = list(slot.best)
            if slot.fed < len(slot.tokens):
                continue
            if slot.open:
                if not self._write_user(slot, drawn[index]):
                    slots[index] = self._start(index)
                continue
            slot.tokens.append(drawn[index])
            if self._ends(slot):
                if len(slot.tokens) - slot.answer_from >= LEAST_RESPONSE:
                    done.append(self._sequence(index, slot))
                slots[index] = self._start(index)
        return done

    def _write_user(self, slot: _Slot, token: int) -> bool:
        """Add a token to the user's message, or end it. False when the message is of no use."""
        ended = token in (self._template.after[0], *self._vocabulary.end_ids)
        if not ended and len(slot.tokens) - slot.user_from < USER_TOKENS:
            slot.tokens.append(token)
            return True
        slot.open = False
        slot.tokens += self._template.after
        slot.answer_from = len(slot.tokens)
        text = self._vocabulary.decode(slot.tokens[: -len(self._template.after)])
        useful = bool(text.strip()) and self._guard.allows(text)
        self.refused += not useful
        return useful

    def _ends(self, slot: _Slot) -> bool:
        """True at an end token, at the longest response, and in a loop, which is cut off."""
        response = len(slot.tokens) - slot.answer_from
        if slot.tokens[-1] in self._vocabulary.end_ids or response >= self._config.max_new_tokens:
            return True
        if response % 8 == 0 and (cut := loop_start(slot.tokens[slot.answer_from :])) is not None:
            del slot.tokens[slot.answer_from + cut :]
            return True
        return False

    def _sequence(self, index: int, slot: _Slot) -> shards.Sequence:
        length = len(slot.tokens)
        fed = length - 1
        features, final = self._features[index, :length].clone(), self._final[index, :length].clone()
        features[fed:], final[fed:] = 0, 0
        best = np.zeros(length, dtype=np.int64)
        best[:fed] = slot.best[:fed]
        return shards.Sequence(
            slot.number, slot.task, slot.answer_from, np.asarray(slot.tokens, np.int64), best, features, final
        )


def loop_start(tokens: Sequence[int]) -> int | None:
    """Length of `tokens` up to the end of a loop's first turn, when they end in a loop; else None."""
    for period in range(1, min(LOOP_PERIOD, len(tokens) // LOOP_REPEATS) + 1):
        repeats = max(LOOP_REPEATS, -(-LOOP_TOKENS // period))
        span = repeats * period
        if span <= len(tokens):
            tail = tokens[-span:]
            if tail[period:] == tail[:-period]:
                return len(tokens) - span + period
    return None


def generate(
    config: DistillConfig,
    model: Any,
    vocabulary: Vocabulary,
    folder: Path,
    goal: int,
    *,
    deadline: float,
    log: Callable[..., None],
    first: int = 0,
) -> None:
    """Write shards until `folder` has `goal` response tokens or `deadline` (monotonic) is reached.

    Goes on behind the shards that are there; a folder's first prompt is number `first`.
    Raises `DecodingError` when nothing but loops comes out.
    """
    folder.mkdir(parents=True, exist_ok=True)
    have = shards.Shards(folder)
    tokens, first = have.response_tokens, max(first, int(have.index[:, 5].max(initial=-1)) + 1)
    if tokens >= goal:
        return
    writer = Writer(model, vocabulary, config, first)
    ready: list[shards.Sequence] = []
    began, before, index = time.monotonic(), tokens, have.following
    while True:
        ready += writer.step()
        ended = time.monotonic() >= deadline or tokens + _response(ready) >= goal
        if len(ready) >= SEQUENCES_PER_SHARD or (ended and ready):
            shards.write(folder, index, ready)
            index, tokens = index + 1, tokens + _response(ready)
            ready = []
            log("generate", **pace(tokens, before, began, goal, deadline))
        if ended:
            writer.close()
            break
    if not tokens:
        raise DecodingError(
            "the target wrote no usable response (all empty or loops); check it with `spectui run` first"
        )


def pace(tokens: int, before: int, began: float, goal: int, deadline: float) -> dict[str, float]:
    """Figures for the log: response tokens, their rate since `began` with `before` tokens, and seconds left."""
    rate = (tokens - before) / (time.monotonic() - began)
    left = min((goal - tokens) / rate, deadline - time.monotonic())
    return {"response_tokens": tokens, "per_second": round(rate, 1), "seconds_left": max(0, round(left))}


def _response(sequences: list[shards.Sequence]) -> int:
    return sum(len(s.tokens) - s.answer_from for s in sequences)
