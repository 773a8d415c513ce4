"""Outcomes of several arms on the same prompts: paired ratios, their intervals, divergences from `generate`."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from spectui.decoding.bench.arms import Arm, Outcome
from spectui.decoding.models.generation_settings import GenerationSettings
from spectui.decoding.trees.shape import TokenTree
from spectui.prompts import Prompt
from spectui.store.counts.median import median_ranks

Around = Callable[[str], contextlib.AbstractContextManager[None]]
"""A context, by the arm's name, to decode within."""


@dataclass
class PairedOutcomes:
    """All outcomes, by arm, in prompt order."""

    prompts: list[Prompt] = field(default_factory=list)
    outcomes: dict[str, list[Outcome]] = field(default_factory=dict)

    @property
    def tasks(self) -> list[str]:
        """The task of each prompt."""
        return [prompt.task for prompt in self.prompts]

    def take_turns(
        self, arms: Mapping[str, Arm], prompt: Prompt, ids: list[int], around: Around | None = None
    ) -> None:
        """Decode `prompt` with every arm; the first to decode moves on by one from prompt to prompt."""
        position = len(self.prompts)
        names = list(arms)
        first = position % len(names)
        for name in names[first:] + names[:first]:
            with around(name) if around else contextlib.nullcontext():
                self.outcomes.setdefault(name, []).append(arms[name].run(ids, position))
        self.prompts.append(prompt)

    def ratios(self, arm: str, base: str) -> list[float]:
        """Speed of `arm` over `base` in tokens per second, prompt by prompt."""
        pairs = zip(self.outcomes[arm], self.outcomes[base], strict=True)
        return [a.tokens_per_second / b.tokens_per_second for a, b in pairs]


def divergence(
    settings: GenerationSettings, ids: list[int], output: list[int], reference: list[int]
) -> dict[str, Any] | None:
    """First position where `output` differs from `reference`, that of the model of `settings` itself, with the margin
    there between the two largest logits; None where both are the same."""
    if output == reference:
        return None
    pairs = enumerate(zip(output, reference, strict=False))
    at = next((i for i, (a, b) in pairs if a != b), min(len(output), len(reference)))
    before, model = [*ids, *reference[:at]], settings.model
    with torch.inference_mode():
        logits = model(torch.tensor([before], device=model.device)).logits[0, -1:].float()
    prompt_settings = settings.begin(ids)
    if prompt_settings is not None:
        prompt_settings.commit(reference[:at])
        nothing = TokenTree.empty()
        logits = prompt_settings.processed(nothing.token, nothing.parent, logits)
    first, second = logits[0].topk(2).values.tolist()
    return {"position": at, "margin": first - second}


def rounded(value: float) -> float:
    """As figures are written: four decimals."""
    return round(float(value), 4)


def quartiles(values: Sequence[float]) -> list[float]:
    """First and third, rounded."""
    return [rounded(q) for q in np.quantile(values, [0.25, 0.75])]


def median_interval(values: Sequence[float]) -> list[float] | None:
    """95 % interval of the median, rounded; None with fewer than six values."""
    ranks = median_ranks(len(values))
    return None if ranks is None else [rounded(sorted(values)[rank]) for rank in ranks]
