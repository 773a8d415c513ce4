"""The interface between the engine and a drafter."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from spectui.decoding.target.language_model import Scored
from spectui.decoding.trees.shape import Shape, TokenTree


@dataclass(frozen=True)
class Setup:
    """Everything that a drafter is made of."""

    shape: Shape
    """Trees to propose until `Drafter.use` names others."""
    vocab_size: int
    """Tokens of the target."""
    name: str
    draft: Any = None
    """Loaded weights; None for a kind without any."""
    temperature: float = 0.0
    """The target's, like `top_p`: any distribution drafts losslessly, a similar one is accepted more often."""
    top_p: float = 1.0


class Drafter(Protocol):
    """Proposes a tree a round and learns what became of it.

    `begin` comes once per prompt, then `propose` and `observe` in turn. A drafter that shares the rounds with
    another may not be asked: then it observes a tree that it did not propose, and has to go on from what
    was committed as if it had drafted nothing.
    """

    name: str
    wants_prompt_logits: bool
    """Whether `begin` can use the target's logits of the prompt (they cost the LM head on every token)."""
    feature_layers: tuple[int, ...]
    """Layers of the target whose inputs `begin` and `observe` want as features; empty for none."""

    def use(self, shape: Shape) -> None:
        """Propose trees of `shape` from now on. Raises `UsageError` for one that it cannot fill."""

    def begin(self, prompt: Sequence[int], scored: Scored, seed: int = 0) -> None:
        """A new sequence. `scored` is what the target made of ``prompt[:-1]``; what is drawn within the sequence, if
        anything, comes from `seed` alone, below 2^32."""

    def propose(self, root: int, max_depth: int) -> TokenTree:
        """A tree under `root`, the last committed token, at most `max_depth` deep (it may be empty)."""

    def observe(
        self, root: int, tree: TokenTree, scored: Scored, path: Sequence[int], bonus: int | None
    ) -> None:
        """What the target made of the root (row 0) and the tree (node i in row i + 1), and what was committed."""

    def seconds_in_models(self) -> float:
        """Time spent inside model forwards since the drafter was made."""


class ModelFree:
    """A drafter without a model: it takes no time in one, and reads nothing of the target but its tokens."""

    wants_prompt_logits = False
    feature_layers: tuple[int, ...] = ()

    def seconds_in_models(self) -> float:
        """See `Drafter`."""
        return 0.0


class NoDrafter(ModelFree):
    """Drafts nothing: every round decodes one token. The plain loop that speculation is compared with."""

    name = "none"

    def use(self, shape: Shape) -> None:
        """No tree is drafted whatever its shape."""

    def begin(self, prompt: Sequence[int], scored: Scored, seed: int = 0) -> None:
        """Nothing to prepare."""

    def propose(self, root: int, max_depth: int) -> TokenTree:
        """The empty tree."""
        return TokenTree.empty()

    def observe(
        self, root: int, tree: TokenTree, scored: Scored, path: Sequence[int], bonus: int | None
    ) -> None:
        """Nothing to learn."""
