"""Prompts for training text: user messages made of templates, and beginnings that the target goes on with.

The second kind follows Magpie (arXiv 2406.08464): a chat model that is given the head of a user's turn
writes what a user would. A few opening words steer it to a task. Torch-free.
"""

from __future__ import annotations

import json
import math
import random
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any, Literal

Origin = Literal["template", "opening", "blank"]

SHARES: dict[Origin, float] = {"template": 0.3, "opening": 0.4, "blank": 0.3}
"""Share of each origin of prompts. `blank` is Magpie as published: no opening words at all."""

SHINGLE = 8
"""Words in a row that count as the same text."""

_SLOT = re.compile(r"\{(\w+?)(\d*)(?::(-?\d+)-(\d+))?\}")
_WORD = re.compile(r"[a-z0-9']+")


@dataclass(frozen=True)
class Start:
    """One prompt's beginning: `text` is the whole user message, unless `open`, when the target goes on."""

    task: str
    text: str
    open: bool
    origin: Origin


@cache
def material() -> dict[str, Any]:
    """The package's openings, templates and words."""
    data: dict[str, Any] = json.loads(files(__package__).joinpath("openings.json").read_text("utf-8"))
    return data


def heldout(per_task: int | None = None) -> list[dict[str, str]]:
    """The questions no head is trained on, all or the first few of each task: ``{"id", "task", "prompt"}``."""
    text = files(__package__).joinpath("heldout.jsonl").read_text("utf-8")
    questions = [json.loads(line) for line in text.splitlines() if line.strip()]
    count_by_task: dict[str, int] = {}
    chosen = []
    for question in questions:
        count_by_task[question["task"]] = count_by_task.get(question["task"], 0) + 1
        if per_task is None or count_by_task[question["task"]] <= per_task:
            chosen.append(question)
    return chosen


def tasks() -> list[str]:
    """Tasks with material, in order."""
    return list(material()["tasks"])


def start(seed: int, number: int) -> Start:
    """The beginning of prompt `number` under `seed`: the same whenever it is asked for."""
    draw = random.Random(f"{seed}/{number}")
    names = tasks()
    task = names[number % len(names)]
    origin = draw.choices(list(SHARES), list(SHARES.values()))[0]
    texts = material()["tasks"][task]
    if origin == "template":
        template = draw.choices(texts["templates"], weights(task))[0]
        return Start(task, fill(template, draw), False, origin)
    return Start(task, draw.choice(texts["openings"]) if origin == "opening" else "", True, origin)


@cache
def weights(task: str) -> list[float]:
    """Relative use of each template of `task`: the logarithm of its different fills, so that little is repeated."""
    words = material()["words"]

    def fills(template: str) -> int:
        slots = {slot.group(0): slot.groups() for slot in _SLOT.finditer(template)}.values()
        return math.prod(
            int(high) - int(low) + 1 if name == "int" else len(words[name]) for name, _, low, high in slots
        )

    return [math.log2(1 + fills(template)) for template in material()["tasks"][task]["templates"]]


def fill(template: str, draw: random.Random) -> str:
    """Replace ``{word}`` by a draw from that list and ``{int:2-40}`` by a number; equal slots agree."""
    words = material()["words"]
    chosen: dict[str, str] = {}

    def value(slot: re.Match[str]) -> str:
        name, _, low, high = slot.groups()
        key = slot.group(0)
        if key not in chosen:
            if name == "int":
                chosen[key] = str(draw.randint(int(low), int(high)))
            else:
                taken = {v for k, v in chosen.items() if k.startswith("{" + name)}
                chosen[key] = draw.choice([w for w in words[name] if w not in taken] or words[name])
        return chosen[key]

    return _SLOT.sub(value, template)


class Guard:
    """Recognises texts that must stay out of training."""

    def __init__(self, texts: Iterable[str]) -> None:
        self._forbidden: dict[int, set[tuple[str, ...]]] = {}
        for text in texts:
            words = _words(text)
            length = min(SHINGLE, len(words))
            self._forbidden.setdefault(length, set()).update(_runs(words, length))

    def allows(self, text: str) -> bool:
        """True when `text` shares no run of `SHINGLE` words with any of them, nor holds a shorter one whole."""
        words = _words(text)
        return all(known.isdisjoint(_runs(words, length)) for length, known in self._forbidden.items())


def _words(text: str) -> list[str]:
    return _WORD.findall(text.lower())


def _runs(words: list[str], length: int) -> set[tuple[str, ...]]:
    return {tuple(words[i : i + length]) for i in range(len(words) - length + 1)}
