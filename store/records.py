"""What the worker hands to the store: prompts, nodes and rounds, as they are to be recorded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from spectui.store.counts import metrics

Cut = Literal["eos", "length"]
"""Why an accepted path was cut short of what the target accepted."""


class NodeRecord(NamedTuple):
    """One speculative node, in the order of the node table's columns.

    A tuple, because a round has many and the hot insert path hands them to SQLite as they are.
    """

    idx: int
    """Position in the round's tree from 0, parents before children."""
    parent: int | None
    """`idx` of the parent, None for a child of the root."""
    depth: int
    """1 for children of the root."""
    rank: int
    """Place among its siblings from 0, in the drafter's order."""
    token_id: int
    draft_p: float | None
    """Probability the drafter gave the token after its parent; None when the drafter has none."""
    target_p: float
    """Probability the target gives the token after its parent."""
    draft_entropy: float | None
    """Entropy in nats of the drafter's distribution at the parent; None when it has none."""
    target_entropy: float
    """Entropy in nats of the target's distribution at the parent."""
    match: bool
    """Whether the token is the target's argmax at the parent."""
    accepted: bool
    """Whether the node is on the committed path of its round."""

    @property
    def overlap(self) -> float | None:
        """``min(1, target_p / draft_p)``; None when the drafter has no probabilities."""
        return metrics.overlap(self.target_p, self.draft_p)


@dataclass(frozen=True)
class RoundRecord:
    """One verification step and its whole tree. Durations are milliseconds."""

    number: int
    """From 1 within its generation."""
    prefix_length: int
    """Committed tokens before the round, those of the prompt included."""
    accepted_length: int
    """Accepted nodes: the length of the committed path."""
    bonus_token_id: int | None
    """The target's own token; None when an accepted end token or the length limit ended the output."""
    cut: Cut | None
    """Set when the path was cut there, so that the step below it was never at risk."""
    draft_ms: float
    verify_ms: float
    other_ms: float
    nodes: Sequence[NodeRecord]
    choice_id: int | None = None
    """What the tree was chosen by (`store.reading.choices`); None where the session has one tree."""


@dataclass(frozen=True)
class PromptRecord:
    """One prompt of a new session."""

    prompt_id: str
    task: str
    text: str
    """For people to read."""
    messages: str | None = None
    """What the model is given where it is more than that text as one turn of a user: JSON of a conversation."""
