"""A round of speculative decoding: its figures, the protocol of its implementations, and the end of an output.

Implemented on the host by `decoding.host_rounds` and on the device by `decoding.device.rounds`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

import numpy as np

from spectui.decoding.acceptance import Verdict
from spectui.decoding.errors import DecodingError
from spectui.decoding.trees.shape import BoolArray, FloatArray, IntArray, TokenTree

if TYPE_CHECKING:
    import torch

Finish = Literal["eos", "length", "context"]
"""The end of an output: an end token (or a stop string of the model's settings), `max_new_tokens`, or the context."""
Cut = Literal["eos", "length"]


@dataclass(frozen=True)
class Round:
    """One verification step. Arrays are per node, ``[N]``; times in milliseconds."""

    number: int
    """From 1 within the prompt."""
    prefix_length: int
    """Tokens committed before the round, the root included."""
    tree: TokenTree
    path: tuple[int, ...]
    """Committed nodes from the root downwards."""
    bonus: int | None
    """The target's own token behind the path; None when the output ended within the path."""
    cut: Cut | None
    """Set when the output ended at the path's last node, so that nothing below it had its chance."""
    finish: Finish | None
    """Set on the last round."""
    target_p: FloatArray
    """Target probability of the node, given the prefix that leads to it."""
    target_entropy: FloatArray
    """Entropy (nats) of the target's distribution at the node's parent."""
    match: BoolArray
    """True where the node is the target's argmax at its parent."""
    draft_ms: float
    verify_ms: float
    other_ms: float
    captured: bool = False
    """True where something was captured on the way, which takes many times as long as a round."""

    @property
    def tokens(self) -> tuple[int, ...]:
        """Tokens that the round adds to the output: accepted nodes, then the bonus."""
        accepted = tuple(int(self.tree.token[i]) for i in self.path)
        return accepted if self.bonus is None else (*accepted, self.bonus)

    @property
    def accepted(self) -> BoolArray:
        """True for nodes on the committed path."""
        on_path = np.zeros(self.tree.size, dtype=np.bool_)
        on_path[list(self.path)] = True
        return on_path


@dataclass(frozen=True)
class Rules:
    """Settings of a run that decide what a round commits."""

    greedy: bool
    temperature: float
    top_p: float
    max_new_tokens: int
    end_ids: frozenset[int]
    """Tokens that end an output."""
    not_finite: str
    """Likely causes of logits that are not finite numbers, for the error message."""


class PromptRules(Protocol):
    """Settings of a model that depend on the prompt and on all that was committed behind it."""

    def processed(self, token: IntArray, parent: IntArray, logits: torch.Tensor) -> torch.Tensor:
        """`logits` ``[N + 1, V]`` behind the root and the nodes of a tree, as these settings change them."""

    def stops(self, tokens: Sequence[int]) -> bool:
        """True when the output ends with `tokens`, behind what was committed."""


class Rounds(Protocol):
    """The rounds of one decoder: `begin` once a prompt, when its prefix is in the caches, then `step` by step."""

    interruptible: bool
    """True where another decoder may use the same models between two rounds of a prompt."""

    def reserve(self, tokens: int) -> None:
        """Forget the sequence, and make room for one of at most `tokens`, before anything is fed."""

    def begin(self, prompt: PromptRules | None) -> None:
        """A new prompt, and the settings that depend on it; None where logits decide as they are."""

    def step(self, root: int, produced: int, rng: np.random.Generator) -> Round:
        """The next round: draft a tree under `root`, the last committed token, verify it, commit what is accepted.

        `produced` tokens of the output were committed before. Raises `DecodingError` for logits that are not finite.
        """

    def capture_failure(self) -> str | None:
        """The reason why a GPU runs its kernels one by one although they were to be captured; None without failure."""


@dataclass(frozen=True)
class Outcome:
    """The part of a verdict that is committed; see the fields of `Round`."""

    path: tuple[int, ...]
    bonus: int | None
    cut: Cut | None
    finish: Finish | None


def end_of_output(
    tree: TokenTree, verdict: Verdict, *, room: int, positions: int, ends: Callable[[Sequence[int]], bool]
) -> Outcome:
    """`verdict`, cut where the output ends.

    The output has `room` for so many more tokens, the context `positions` behind the root. ``ends(tokens)`` is true
    when the output ends with the first `tokens` of the round.
    """
    tokens: list[int] = []
    for length, node in enumerate(verdict.path, start=1):
        tokens.append(int(tree.token[node]))
        cut: Cut | None = "eos" if ends(tokens) else "length" if length == room else None
        if cut is not None:
            return Outcome(verdict.path[:length], None, cut, cut)
    finish: Finish | None = None
    if ends([*tokens, verdict.bonus]):
        finish = "eos"
    elif len(tokens) + 1 == room:
        finish = "length"
    elif len(tokens) + 1 >= positions:
        finish = "context"
    return Outcome(verdict.path, verdict.bonus, None, finish)


class BaseRounds:
    """State and checks that both implementations of `Rounds` share."""

    def __init__(self, rules: Rules) -> None:
        self.rules = rules
        self.prompt: PromptRules | None = None
        self.number = 0
        """Of the round that was begun last."""

    def begin(self, prompt: PromptRules | None) -> None:
        """See `Rounds.begin`."""
        self.prompt, self.number = prompt, 0

    def check_finite(self, finite: bool, prefix: int) -> None:
        """Raise `DecodingError` unless the target's logits behind token `prefix` are `finite`."""
        if not finite:
            raise DecodingError(
                f"the target's logits behind token {prefix} are not finite numbers; {self.rules.not_finite}"
            )

    def outcome(self, tree: TokenTree, verdict: Verdict, produced: int, positions: int) -> Outcome:
        """See `end_of_output`."""
        room = self.rules.max_new_tokens - produced
        return end_of_output(tree, verdict, room=room, positions=positions, ends=self._ends)

    def _ends(self, tokens: Sequence[int]) -> bool:
        return tokens[-1] in self.rules.end_ids or (self.prompt is not None and self.prompt.stops(tokens))
