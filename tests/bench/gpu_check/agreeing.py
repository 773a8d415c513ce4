"""A target whose text is known in advance, and drafts for it that agree in a known share of tokens.

Every token x is followed by ``after(x, 1)``: all layers add little to its embedding E[x], and the row of the output
layer for that token is E[x]. A draft has the right token first, second, or not at all, by a class of x that is drawn
once. All weights have their real sizes and take part, so that forwards cost what they cost in a trained model; but
the tokens of each round can be told before any forward runs.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from spectui.decoding.eagle.head import EagleHead
from tests.bench.gpu_check.report import Setting
from tests.bench.gpu_check.shapes import LLAMA_2_7B, TINY_LLAMA, Sizes, fill, random_head, random_llama

SMALL: Sizes = {"vocab_size": 384, "hidden_size": 384, "intermediate_size": 128, "num_hidden_layers": 3,
                "num_attention_heads": 4, "num_key_value_heads": 4, "max_position_embeddings": 1024}  # fmt: skip
FIRST, SECOND = 0.7, 0.25
"""Shares of the tokens after which a draft's first child is right, and its second."""
TOP, RUNNER_UP = 12.0, 0.8
"""Logit of the likeliest token, and of the next as a share of it."""
QUIET = 0.02
"""Weights that write into the residual stream, of what they would be."""


@dataclass(frozen=True)
class Language:
    """The tokens in a ring; `rank` says which child of a draft is right after each: 0, 1, or 2 for none."""

    ring: NDArray[np.int64]
    place: NDArray[np.int64]
    rank: NDArray[np.int64]

    @classmethod
    def of(cls, tokens: int) -> Language:
        """A language of so many tokens."""
        rng = np.random.default_rng(7)
        ring = rng.permutation(tokens)
        place = np.empty_like(ring)
        place[ring] = np.arange(tokens)
        rank = np.searchsorted([FIRST, FIRST + SECOND], rng.random(tokens), side="right")
        return cls(ring, place, rank)

    def after(self, tokens: Any, choice: int) -> Any:
        """The token that follows each: the target's for choice 1, others for 2 and 3."""
        step = {1: 1, 2: len(self.ring) // 3, 3: len(self.ring) // 2 + 1}[choice]
        return self.ring[(self.place[tokens] + step) % len(self.ring)]

    def text(self, last: int, count: int) -> list[int]:
        """The `count` tokens after `last`."""
        return [int(t) for t in self.ring[(self.place[last] + 1 + np.arange(count)) % len(self.ring)]]

    def rounds(self, last: int, count: int, depth: int, width: int) -> int:
        """Rounds that it takes to decode `count` tokens with full trees."""
        rounds = 0
        text = iter([last, *self.text(last, count + depth)])
        token = next(text)
        while count > 0:
            rounds += 1
            agreed = 0
            while agreed < depth and self.rank[token] < width:
                agreed, token = agreed + 1, next(text)
            token = next(text)
            count -= agreed + 1
        return rounds


def embedding(weight: torch.Tensor) -> None:
    """Rows of unit variance; where there are no more than columns, no row has anything of another."""
    if len(weight) > weight.shape[1]:
        weight.normal_()
        return
    rows = torch.linalg.qr(torch.randn(weight.shape[1], weight.shape[1]))[0][: len(weight)]
    weight.copy_(rows * weight.shape[1] ** 0.5)


def predict(rows: torch.Tensor, embedded: torch.Tensor, first: Any, second: Any) -> None:
    """Make an output layer whose likeliest token after x is ``first[x]``, and then ``second[x]``."""
    scale = TOP / embedded.shape[1]
    rows.zero_()
    for tokens, share in ((first, 1.0), (second, RUNNER_UP)):
        index = torch.from_numpy(np.ascontiguousarray(tokens)).to(rows.device)
        for at in range(0, len(index), 4096):
            rows.index_add_(
                0, index[at : at + 4096], (share * scale * embedded[at : at + 4096]).to(rows.dtype)
            )


@torch.no_grad()
def _quiet(model: torch.nn.Module) -> None:
    fill(model, lambda name, width: (QUIET if "o_proj" in name or "down_proj" in name else 1.0) * width**-0.5)


@torch.no_grad()
def target(setting: Setting, language: Language, dtype: torch.dtype) -> Any:
    """A model of the target's sizes whose texts are those of `language`."""
    return _model(setting, SMALL if setting.tiny else LLAMA_2_7B, dtype, 0,
                  *_choices(language, np.zeros_like(language.rank)))  # fmt: skip


@torch.no_grad()
def draft(setting: Setting, language: Language, dtype: torch.dtype) -> Any:
    """A draft model, right as `language` says."""
    return _model(
        setting, SMALL if setting.tiny else TINY_LLAMA, dtype, 1, *_choices(language, language.rank)
    )


def _model(setting: Setting, sizes: Sizes, dtype: torch.dtype, seed: int, first: Any, second: Any) -> Any:
    model = random_llama(sizes, dtype, setting.device, seed)
    _quiet(model)
    weight = model.get_input_embeddings().weight
    embedding(weight)
    predict(model.lm_head.weight, weight, first, second)
    return model


def _choices(language: Language, rank: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
    """First and second child after each token where the right one has `rank`."""
    tokens = np.arange(len(language.ring))
    one, two, three = (language.after(tokens, choice) for choice in (1, 2, 3))
    yield np.where(rank == 0, one, two)
    yield np.where(rank == 0, two, np.where(rank == 1, one, three))


@torch.no_grad()
def head(of: Any, language: Language) -> EagleHead:
    """A head for the target `of`, right as `language` says.

    Its attention looks at the token alone (equal queries and keys, drawn at random, are only alike at one place) and
    hands its embedding on; the feature beside it weighs a quarter.
    """
    sizes = {"num_key_value_heads": int(of.config.num_attention_heads)}
    made = random_head(of, int(of.config.vocab_size), heads=sizes, norm_before_residual=True)
    _quiet(made)
    layer, width = made.layers[0], made.config.hidden_size
    for weight in (layer.q_proj.weight, layer.v_proj.weight, layer.k_proj.weight):
        weight.zero_()
    layer.q_proj.weight[:, :width].normal_(0.0, (2.0 / width) ** 0.5)
    layer.k_proj.weight.copy_(layer.q_proj.weight)
    one = torch.eye(width, dtype=made.dtype, device=layer.v_proj.weight.device)
    layer.v_proj.weight[:, :width].copy_(one)
    layer.o_proj.weight.copy_(4.0 * one)
    predict(made.lm_head.weight, of.get_input_embeddings().weight, *_choices(language, language.rank))
    return made
