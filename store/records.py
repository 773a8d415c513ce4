"""Prompts, nodes and rounds as the worker hands them to the store."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeAlias

Cut = Literal["eos", "length"]
"""The reason that an accepted path was cut short of what the target accepted."""


UNKNOWN_TOKEN = -1
"""A token that was drafted or emitted, but whose id a server keeps to itself."""

Probability: TypeAlias = float
Nats: TypeAlias = float


class NodeRecord(NamedTuple):
    """One speculative node: the columns of the node table after `round_id`.

    Writer, reader, checks and exports follow from these fields. Flags come last, so that a row is made a record by one
    slice. A tuple, because a round has many and the insert hands them to SQLite as they are.
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
    """`UNKNOWN_TOKEN` where the source does not name it."""
    draft_p: Probability | None
    """The drafter's probability of the token after its parent; None when the drafter has none."""
    target_p: Probability | None
    """The target's probability of the token after its parent; None, as the two below, where the source does not
    give it."""
    draft_entropy: Nats | None
    """Entropy of the drafter's distribution at the parent; None when it has none."""
    target_entropy: Nats | None
    """Entropy of the target's distribution at the parent."""
    match: bool | None
    """True when the token is the target's argmax at the parent."""
    accepted: bool
    """True when the node is on the committed path of its round."""


NODE_TYPES: dict[str, str] = {
    name: declared.__forward_arg__ for name, declared in NodeRecord.__annotations__.items()
}
"""Column of node -> its declared type."""

NODE_FLAGS = tuple(
    name for name, declared in NODE_TYPES.items() if declared.removesuffix(" | None") == "bool"
)
"""Columns of node that are 0 or 1; the last ones."""


@dataclass(frozen=True)
class RoundRecord:
    """One verification step and its whole tree. Durations are milliseconds."""

    number: int
    """From 1 within its generation."""
    prefix_length: int | None
    """Committed tokens before the round, those of the prompt included; None where its place is not known."""
    accepted_length: int
    """Accepted nodes: the length of the committed path."""
    bonus_token_id: int | None
    """The target's own token, `UNKNOWN_TOKEN` where only that is known; None when an accepted end token or the length
    limit ended the output."""
    cut: Cut | None
    """Set when the path was cut there, so that the step below it was never at risk."""
    draft_ms: float | None
    """None, as the two below, where it was not measured. Time that is not split is all in `other_ms`."""
    verify_ms: float | None
    other_ms: float | None
    nodes: Sequence[NodeRecord]
    choice_id: int | None = None
    """The choice of the tree (`store.reading.choices`); None where the session has one tree."""
    explained: bool | None = None
    """True where the target's argmax, as a server recorded it, explains what a greedy round accepted; None where that
    cannot be told."""


@dataclass(frozen=True)
class PromptRecord:
    """One prompt of a new session."""

    prompt_id: str
    task: str
    text: str
    """For people to read."""
    messages: str | None = None
    """JSON of the conversation that the model is given, where it is more than `text` as one turn of a user."""
