"""One read of everything a session recorded, into columns."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from spectui.store.analysis.trees import places, tree_ids
from spectui.store.counts.metrics import OVERLAP_SQL, at_risk_columns
from spectui.store.reading.columns import Bools, Columns, Floats, Ints, Progress, read_columns, silent
from spectui.store.reading.reader import Reader
from spectui.store.rows import GenerationRow, SessionSummary

_ROUND_COLUMNS = ("round.accepted_length", "round.bonus_token_id IS NOT NULL", "round.cut IS NOT NULL")
_NODE_COLUMNS = (
    "node.depth", "node.rank", "node.draft_p", OVERLAP_SQL, "node.draft_entropy", "node.target_entropy",
    'node."match"', "node.accepted", "node.target_p",
)  # fmt: skip


@dataclass(frozen=True)
class Measured:
    """A session as columns: prompts [P], rounds [R], nodes [N]; rounds and nodes in the order they were made.

    Prompts without a round, and those whose nodes were pruned, are left out; so are those that failed, were skipped or
    have not finished, if any has. NaN stands where a drafter has no probabilities.
    """

    summary: SessionSummary
    prompts: tuple[GenerationRow, ...]
    """[P], with prompt_text, without output."""
    round_prompt: Ints
    """[R], the index of a round's prompt."""
    accepted_length: Ints
    """[R]"""
    tokens: Ints
    """[R], emitted: the accepted ones and the target's own."""
    node_round: Ints
    """[N], the index of a node's round."""
    family: Ints
    """[N], an id shared by the children of one parent."""
    depth: Ints
    """[N], from 1."""
    rank: Ints
    """[N], from 0."""
    draft_p: Floats
    """[N], probability or NaN."""
    overlap: Floats
    """[N], min(1, p/q) or NaN."""
    draft_entropy: Floats
    """[N], nats or NaN."""
    target_entropy: Floats
    """[N], nats."""
    match: Bools
    """[N]"""
    accepted: Bools
    """[N]"""
    on_path: Bools
    """[N], whether the parent was accepted; the root always is."""
    at_risk: Bools
    """[N], on_path and not behind a cut."""
    tree: Ints | None = None
    """[R], an id shared by rounds of one tree; None: taken from depths, ranks and sizes of families."""
    target_p: Floats | None = None
    """[N], probability; None: not known."""
    cut: Bools | None = None
    """[R], whether an end token or a limit cut the path; None: none was."""
    known_match: Bools | None = None
    """[N], whether it is known that a node matches or not; None: of all."""
    left_out: Mapping[str, int] = field(default_factory=dict)
    """Prompts with rounds that are left out as they did not finish, by status."""

    @property
    def judged(self) -> Bools:
        """[N], whether it is known that a node matches or not."""
        return np.ones(len(self.depth), np.bool_) if self.known_match is None else self.known_match

    @property
    def node_prompt(self) -> Ints:
        """[N], the index of a node's prompt."""
        return self.round_prompt[self.node_round]

    @property
    def max_depth(self) -> int:
        """The depth of the deepest node; 0 without nodes."""
        return int(self.depth.max(initial=0))


def read_session(reader: Reader, ref: int | str, progress: Progress = silent) -> Measured:
    """Read a session, given by id, name or "last", in one state. Raises `StoreError` when there is none.

    48 bytes or so a node are held; 1,000,000 nodes take some seconds.
    """
    with reader.snapshot():
        summary = reader.session(ref)
        prompts = tuple(
            row
            for row in reader.generations(summary.id, outputs=False)
            if row.round_count and not row.pruned_at
        )
        left_out = Counter(row.status for row in prompts if row.status != "finished")
        if len(prompts) == left_out.total():
            left_out.clear()
        if left_out:
            prompts = tuple(row for row in prompts if row.status == "finished")
        columns = read_columns(reader, summary.id, prompts, _ROUND_COLUMNS, _NODE_COLUMNS, progress)
    return _measured(summary, prompts, columns, left_out)


@np.errstate(invalid="raise")
def _measured(
    summary: SessionSummary, prompts: tuple[GenerationRow, ...], columns: Columns, left_out: Mapping[str, int]
) -> Measured:
    node_round, first = columns.node_round, columns.first_node
    length, bonus, cut = columns.rounds
    depth, rank, draft_p, overlap, draft_entropy, target_entropy, match, accepted, target_p = columns.nodes
    depth_of = depth.astype(np.int64)
    is_accepted = accepted == 1
    root = columns.parent < 0
    at = first[node_round] + np.where(root, 0, columns.parent)
    on_path = root | is_accepted[at]
    accepted_length = length.astype(np.int64)
    place_in_tree = places(depth_of, rank.astype(np.int64), np.where(root, -1, at))
    return Measured(
        summary=summary,
        prompts=prompts,
        round_prompt=columns.round_prompt,
        accepted_length=accepted_length,
        tokens=accepted_length + bonus.astype(np.int64),
        node_round=node_round,
        # Children of the root share a number below those of all nodes of the round.
        family=np.where(root, first[node_round] + node_round, at + node_round + 1),
        depth=depth_of,
        rank=rank.astype(np.int64),
        draft_p=draft_p.copy(),
        overlap=overlap.copy(),
        draft_entropy=draft_entropy.copy(),
        target_entropy=target_entropy.copy(),
        match=match == 1,
        known_match=np.isfinite(match),
        accepted=is_accepted,
        on_path=on_path,
        at_risk=at_risk_columns(on_path, depth_of, accepted_length[node_round], (cut == 1)[node_round]),
        target_p=target_p.copy(),
        cut=cut == 1,
        tree=tree_ids(node_round, place_in_tree, len(columns.round_prompt)),
        left_out=dict(left_out),
    )
