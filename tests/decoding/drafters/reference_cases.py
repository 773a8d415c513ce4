"""The checkpoints of `reference/`, loaded and decoded with as a run does, to be held against their expected outputs."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from spectui.decoding.device.switch import language_model
from spectui.decoding.drafters.base import Drafter, Setup
from spectui.decoding.drafters.kind import DrafterKind, imported
from spectui.decoding.drafters.registry import kind_in
from spectui.decoding.models.families import register_families
from spectui.decoding.target.language_model import LanguageModel, Scored
from spectui.decoding.trees.shape import IntArray, TokenTree, TreeShape
from spectui.decoding.trees.spec import parse_tree

FOLDER = Path(__file__).parent / "reference"
TOLERANCE = 1e-4


@cache
def target_of(name: str) -> Any:
    """The target of a checkpoint, in float32."""
    folder = FOLDER / expected(name).get("target", name)
    register_families()
    return AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float32, attn_implementation="sdpa"
    ).eval()


@cache
def expected(name: str) -> Any:
    """``expected.json``."""
    return json.loads((FOLDER / name / "expected.json").read_text())


@cache
def expected_logits(name: str) -> dict[str, torch.Tensor]:
    """``expected.safetensors``."""
    logits: dict[str, torch.Tensor] = load_file(FOLDER / name / "expected.safetensors")
    return logits


def load(name: str, folder: Path | None = None, kind: DrafterKind | None = None) -> tuple[DrafterKind, Any]:
    """Kind and weights of a checkpoint; `folder` has an altered copy of it. A `kind` is given where none is named."""
    folder = folder or FOLDER / name
    kind = kind or kind_in(folder)
    assert kind.weights is not None
    if kind.weights.whole_model:
        return kind, AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    target = target_of(name)
    return kind, imported(kind.weights.load)(folder, target, device=target.device, allow_pickle=False)


class _LeftError(Exception):
    """Leaves a proposal."""


class DraftedSequence:
    """A sequence of a target with a drafter, round after round, whose accepted tokens are given."""

    def __init__(
        self, name: str, kind: DrafterKind, weights: Any, tree: str = "chain:3", *, fixed: bool
    ) -> None:
        self.target_model = target_of(name)
        setup = Setup(parse_tree(tree), int(self.target_model.config.vocab_size), kind.name, weights)
        build = kind.device_build if fixed and kind.device_build else kind.build
        self.drafter: Drafter = imported(build)(setup)
        self.target: LanguageModel = language_model(self.target_model, self.drafter.feature_layers)
        self.committed: list[int] = []
        self.root = 0

    @classmethod
    def of(cls, drafter: Drafter, committed: Sequence[int], root: int) -> DraftedSequence:
        """A drafter that has begun already, without a target."""
        sequence = cls.__new__(cls)
        sequence.drafter, sequence.committed, sequence.root = drafter, list(committed), root
        return sequence

    def begin(self, committed: Sequence[int], root: int) -> None:
        """Read a prompt whose last token is `root`."""
        self.committed, self.root = list(committed), root
        self.target.reset()
        scored = self.target.prefill(self.committed)
        self.drafter.begin([*self.committed, root], scored)

    def accept(self, path: Sequence[int], bonus: int) -> None:
        """A round whose tree is a chain, all of it accepted, and `bonus` behind it."""
        chain = TreeShape.from_parents("", range(-1, len(path) - 1))
        tree = TokenTree.from_shape(chain, np.asarray(path, dtype=np.int64))
        count = len(path) + 1
        scored: Scored = self.target.append(
            np.asarray([self.root, *path]), np.arange(count), np.tri(count, dtype=np.bool_)
        )
        self.target.keep(range(count))
        self.drafter.observe(self.root, tree, scored, list(range(len(path))), bonus)
        self.committed += [self.root, *path]
        self.root = bonus

    def tree(self, tree: str, depth: int = 100) -> TokenTree:
        """The tree that is proposed here."""
        self.drafter.use(parse_tree(tree))
        proposed = self.drafter.propose(self.root, depth)
        proposed.check()
        return proposed

    def ids(self, columns: torch.Tensor) -> list[int]:
        """Target tokens of columns of the draft's logits."""
        head = getattr(self.drafter, "head", None)
        tokens: list[int] = (columns if head is None else head.draft_ids[columns]).tolist()
        return tokens

    def logits_along(self, path: Sequence[int]) -> torch.Tensor:
        """The draft's logits ``[len(path) + 1, W]`` after the root and each token of `path`."""
        rows: list[torch.Tensor] = []
        depths = np.arange(1, len(path) + 1)

        def follow(logits: torch.Tensor, score: Any) -> None:
            rows.append(logits[:1])
            for depth, token in enumerate(path, start=1):
                mask = np.ones((1, depth), dtype=np.bool_)
                rows.append(score(_one(token), depths[depth - 1 : depth], mask, _one(0)))

        drafter: Any = self.drafter
        if hasattr(drafter, "propose_tensors"):
            grower = drafter.grower if hasattr(drafter, "grower") else drafter._grower
            grower.grow = lambda _, logits, score, *__: follow(
                logits,
                lambda *inputs: score(torch.from_numpy(inputs[0]), *inputs[1:3], torch.from_numpy(inputs[3])),
            )
            drafter.propose_tensors(self.root, len(path) + 1)
            del grower.grow
        else:
            expander = drafter._expander
            grow = expander.grow

            def instead(logits: torch.Tensor, score: Any, *_: object) -> None:
                follow(logits, score)
                raise _LeftError

            def product(logits: torch.Tensor, _: int) -> None:
                rows.append(logits[: len(path) + 1])
                raise _LeftError

            grow_product = expander.grow_product
            expander.grow, expander.grow_product = instead, product
            with contextlib.suppress(_LeftError):
                drafter.propose(self.root, len(path) + 1)
            expander.grow, expander.grow_product = grow, grow_product
        return torch.cat([row.clone() for row in rows])


def _one(value: int) -> IntArray:
    return np.asarray([value], dtype=np.int64)
