"""A tiny model decoded end to end and compared with `generate`: equal, refused in one line, or at fault."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from spectui.decoding.config import RunConfig
from spectui.decoding.engine import SpeculativeDecoder
from spectui.decoding.errors import DecodingError
from spectui.decoding.models.load import load_models
from tests.equality import first_difference
from tests.models import tiny_tokenizer

Verdict = Literal["equal", "refused", "wrong", "internal", "not made"]


@dataclass(frozen=True)
class Outcome:
    """Of one model."""

    verdict: Verdict
    words: str = ""

    @property
    def at_fault(self) -> bool:
        """Other tokens than `generate`, or an error that is no refusal."""
        return self.verdict in ("wrong", "internal")


def reference(model: Any, ids: Sequence[int], tokens: int) -> list[int]:
    """The greedy tokens of `generate`, end tokens or not."""
    with torch.inference_mode():
        out = model.generate(
            torch.tensor([list(ids)]),
            attention_mask=torch.ones(1, len(ids), dtype=torch.long),
            do_sample=False,
            max_new_tokens=tokens,
            pad_token_id=0,
        )
    return [int(t) for t in out[0, len(ids) :]]


def save(model: Any, folder: Path) -> None:
    """Write a checkpoint with a tokenizer."""
    shutil.rmtree(folder, ignore_errors=True)
    model.save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)


def decoded(
    folder: Path,
    model: Any,
    *,
    prompt: int = 20,
    tokens: int = 24,
    draft: str | None = None,
    tree: str = "full:3x2",
) -> Outcome:
    """Decode a prompt of `prompt` random tokens with the checkpoint in `folder`, which drafts for itself."""
    ids = [int(t) for t in np.random.default_rng(0).integers(5, 300, prompt)]
    try:
        expected = reference(model, ids, tokens)
    except Exception as error:
        return Outcome("not made", f"generate itself: {one_line(error)}")
    ends = _listed(model.generation_config.eos_token_id) or [2]  # else the tokenizer's
    expected = expected[: next((at for at, token in enumerate(expected, start=1) if token in ends), None)]
    config = RunConfig(
        target=str(folder), draft=draft or str(folder), tree=tree, max_new_tokens=tokens, device="cpu"
    )
    try:
        decoder = SpeculativeDecoder(config, models=load_models(config))
        output = [t for round_ in decoder.generate(ids) for t in round_.tokens]
    except DecodingError as error:
        said = str(error)
        return Outcome("internal" if "\n" in said else "refused", said)
    except Exception as error:
        return Outcome("internal", one_line(error))
    difference = first_difference(model, ids, output, expected)
    if difference is None:
        return Outcome("equal")
    at = difference.position
    if difference.near_tie:
        return Outcome("equal", f"up to a near-tie at token {at}")
    return Outcome("wrong", f"token {at} of {len(expected)} differs, margin {difference.margin:.2g}")


def _listed(ends: int | list[int] | None) -> list[int]:
    return [ends] if isinstance(ends, int) else list(ends or [])


def one_line(error: Exception) -> str:
    """Its class and what it says."""
    return f"{type(error).__name__}: {' '.join(str(error).split())[:150]}"
