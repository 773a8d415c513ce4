"""Every kind of drafter with weights small enough for tests; a kind without any needs no line here."""

from __future__ import annotations

import copy
from typing import Any

import torch

from spectui.decoding.config import WITH_LOOKUP
from spectui.decoding.drafters.kind import DrafterKind
from spectui.decoding.drafters.registry import (
    DFLASH,
    DRAFT_MODEL,
    DSPARK,
    EAGLE,
    EAGLE1,
    KINDS,
    MTP,
    PARD,
    PEAGLE,
)
from spectui.decoding.models.load import LoadedModels
from spectui.decoding.tokens.vocabulary import Vocabulary
from tests.decoding.drafters.toy_entry import TOY
from tests.heads import tiny_block_head, tiny_first_head, tiny_head, tiny_module

EVERY = {**KINDS, DRAFT_MODEL.name: DRAFT_MODEL, TOY.name: TOY}
"""Registered kinds, and the toy, which tests register."""


def weights_for(kind: DrafterKind, target: Any) -> Any | None:
    """Weights of a kind for `target`: a model that agrees now and then, a random head; None where it has none."""
    if kind.weights is None:
        return None
    if kind.weights.whole_model:
        draft = copy.deepcopy(target)
        torch.manual_seed(7)
        with torch.no_grad():
            draft.lm_head.weight += 0.1 * torch.randn_like(draft.lm_head.weight)
        if kind is PARD:
            draft.config.pard_token = int(target.config.vocab_size) - 1
        return draft
    return _HEADS[kind.name](target)


def _eagle(target: Any) -> Any:
    """It cannot name every third token."""
    tokens = [token for token in range(target.config.vocab_size) if token % 3 != 1]
    layers = tuple(min(layer, target.config.num_hidden_layers - 1) for layer in (0, 1, 2))
    return tiny_head(target, tokens=tokens, draft_vocab_size=len(tokens), feature_layers=layers)


def _dflash(target: Any) -> Any:
    """It cannot name every third token; one of its layers slides."""
    tokens = [token for token in range(target.config.vocab_size) if token % 3 != 1]
    return tiny_block_head(target, tokens=tokens)


def _peagle(target: Any) -> Any:
    """It cannot name every third token."""
    tokens = [token for token in range(target.config.vocab_size) if token % 3 != 1]
    layers = (0, target.config.num_hidden_layers - 1)
    mask = target.config.vocab_size - 1
    return tiny_head(
        target,
        tokens=tokens,
        draft_vocab_size=len(tokens),
        feature_layers=layers,
        num_hidden_layers=2,
        mask_token=mask,
        seed=6,
    )


def _dspark(target: Any) -> Any:
    """It cannot name every third token; its Markov head remembers its path, its confidence head ends trees."""
    tokens = [token for token in range(target.config.vocab_size) if token % 3 != 1]
    return tiny_block_head(
        target, tokens=tokens, markov="rnn", markov_rank=8, anchored=True, confident=True, seed=2
    )


_HEADS = {
    DSPARK.name: _dspark,
    MTP.name: tiny_module,
    PEAGLE.name: _peagle,
    EAGLE.name: _eagle,
    EAGLE1.name: tiny_first_head,
    DFLASH.name: _dflash,
}


def models_for(kind: DrafterKind, target: Any, tokenizer: Any, end_ids: list[int]) -> LoadedModels:
    """`target` with weights for drafting as `kind` does."""
    return LoadedModels(target, weights_for(kind, target), Vocabulary(tokenizer, end_ids), kind)


def trees_of(kind: DrafterKind) -> list[str]:
    """Small trees of every sort that a kind can fill."""
    if kind.chains_only:
        return ["chain:3"]
    if kind is DSPARK:
        return ["full:2x2", "dynamic:6x3~0.5"]
    return ["full:2x2", "dynamic:6x3"] if kind.probabilities else ["full:2x2", "recycling:6"]


CASES = [
    (kind, tree, looks_up)
    for kind in EVERY.values()
    for tree in trees_of(kind)
    for looks_up in (False, True)
    if kind.lookup_beside or not looks_up
]
"""Kind, tree, and whether lookup stands beside it."""


def name_of(value: object) -> str:
    """A parameter of a test, as its id shows it."""
    if isinstance(value, DrafterKind):
        return value.name
    return WITH_LOOKUP if value is True else "alone" if value is False else str(value)
