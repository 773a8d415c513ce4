"""The interface between the engine and a drafter."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from spectui.decoding.target.language_model import Scored
from spectui.decoding.trees.shape import Shape, TokenTree


@dataclass(frozen=True)
class Setup:
    """Everything that a drafter is built from."""

    shape: Shape
    """Shape of its trees until `Drafter.use` sets another."""
    vocab_size: int
    """Tokens of the target."""
    name: str
    draft: Any = None
    """Loaded weights; None for a kind without any."""
    temperature: float = 0.0
    """The target's, like `top_p`: any distribution drafts losslessly, a similar one is accepted more often."""
    top_p: float = 1.0


class Drafter(Protocol):
    """Proposes a tree each round and observes its verification.

    `begin` is called once per prompt, then `propose` and `observe` in turn. A drafter that shares the rounds with
    another is not asked in each of them: then it observes a tree that it did not propose, and has to go on from the
    committed tokens as if it had drafted nothing.
    """

    name: str
    wants_prompt_logits: bool
    """True for a `begin` that uses the target's logits of the prompt, which cost the LM head on every token."""
    feature_layers: tuple[int, ...]
    """Layers of the target whose inputs `begin` and `observe` get as features; empty for none."""

    def use(self, shape: Shape) -> None:
        """Propose trees of `shape` from now on. Raises `UsageError` for one that it cannot fill."""

    def begin(self, prompt: Sequence[int], scored: Scored, seed: int = 0) -> None:
        """Start a sequence. `scored` is the target's output for ``prompt[:-1]``; random draws within it depend on
        `seed` alone, below 2^32."""

    def propose(self, root: int, max_depth: int) -> TokenTree:
        """A tree under `root`, the last committed token, at most `max_depth` deep (it may be empty)."""

    def observe(
        self, root: int, tree: TokenTree, scored: Scored, path: Sequence[int], bonus: int | None
    ) -> None:
        """Take note of a round: the target's output for the root (row 0) and the tree (node i in row i + 1), and the
        committed tokens, `path` and then `bonus`."""

    def seconds_in_models(self) -> float:
        """Time spent inside model forwards since the drafter was made."""


@runtime_checkable
class ReadsBest(Protocol):
    """A drafter whose `observe` reads the likeliest tokens behind each row, `Scored.best`, where they are there."""

    best_read: int
    """Number of tokens behind each row."""


@runtime_checkable
class Remembers(Protocol):
    """A drafter that drafts by what it saw of earlier prompts, too."""

    def forget(self) -> None:
        """Draft the next prompt as if it were the first."""


class ModelFree:
    """Base of drafters without a model, which spend no time in one and read only tokens unless they say otherwise."""

    wants_prompt_logits = False
    feature_layers: tuple[int, ...] = ()

    def seconds_in_models(self) -> float:
        """See `Drafter`."""
        return 0.0


class NoDrafter(ModelFree):
    """Drafts nothing: every round decodes one token. The plain loop that speculation is compared with."""

    name = "none"

    def use(self, shape: Shape) -> None:
        """Nothing to change: there is no tree."""

    def begin(self, prompt: Sequence[int], scored: Scored, seed: int = 0) -> None:
        """Nothing to prepare."""

    def propose(self, root: int, max_depth: int) -> TokenTree:
        """The empty tree."""
        return TokenTree.empty()

    def observe(
        self, root: int, tree: TokenTree, scored: Scored, path: Sequence[int], bonus: int | None
    ) -> None:
        """Nothing to learn."""
