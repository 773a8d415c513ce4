"""One read of everything a session recorded, into columns."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from spectui.store.analysis.trees import places, tree_ids
from spectui.store.counts.metrics import OVERLAP_SQL, at_risk_columns
from spectui.store.reading.reader import Reader
from spectui.store.rows import GenerationRow, SessionSummary

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
Progress = Callable[[str, int, int], None]
"""Told what is being done, how far it is and how far it goes; what it raises ends the work."""
_CHUNK = 10_000
"""Rows read at a time: few enough that other threads, such as a dashboard's, get their turn in between."""


def silent(what: str, done: int, total: int) -> None:
    """Tell nobody."""


_ROUNDS = """
    SELECT round.id, round.generation_id, round.accepted_length, round.bonus_token_id IS NOT NULL,
           round.cut IS NOT NULL
    FROM generation CROSS JOIN round ON round.generation_id = generation.id
    WHERE generation.session_id = ? AND generation.id NOT IN (SELECT generation_id FROM pruned)
    ORDER BY generation.position, round.number
"""
# CROSS JOIN keeps the order of the loops, so that each round's nodes come together and in order.
_NODES = f"""
    SELECT node.round_id, node.idx, node.parent, node.depth, node.rank, node.draft_p, {OVERLAP_SQL},
           node.draft_entropy, node.target_entropy, node."match", node.accepted, node.target_p
    FROM generation
    CROSS JOIN round ON round.generation_id = generation.id
    CROSS JOIN node ON node.round_id = round.id
    WHERE generation.session_id = ? AND generation.id NOT IN (SELECT generation_id FROM pruned)
"""


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
    left_out: Mapping[str, int] = field(default_factory=dict)
    """Prompts with rounds that are left out as they did not finish, by status."""

    @property
    def node_prompt(self) -> Ints:
        """[N], the index of a node's prompt."""
        return self.round_prompt[self.node_round]

    @property
    def max_depth(self) -> int:
        """Of the deepest node; 0 without nodes."""
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
        rounds = _columns(reader, _ROUNDS, summary.id, 5, ("reading rounds", summary.rounds), progress)
        nodes = _columns(reader, _NODES, summary.id, 12, ("reading nodes", summary.nodes), progress)
    if left_out:
        prompts = tuple(row for row in prompts if row.status == "finished")
        rounds = rounds[:, np.isin(rounds[1], [row.id for row in prompts])]
        nodes = nodes[:, np.isin(nodes[0], rounds[0])]
    return replace(_measured(summary, prompts, rounds, nodes), left_out=dict(left_out))


def _columns(
    reader: Reader, sql: str, session_id: int, width: int, what: tuple[str, int], progress: Progress
) -> Floats:
    """[width, rows] of a query whose columns are numbers; NULL is NaN. Ids are exact up to 2^53."""
    chunks = []
    done = 0
    for rows in reader.scan(sql, session_id, chunk=_CHUNK):
        chunks.append(np.array(rows, dtype=np.float64).T)
        done += len(rows)
        progress(what[0], done, max(what[1], done))
    return np.concatenate(chunks, axis=1) if chunks else np.empty((width, 0))


@np.errstate(invalid="raise")
def _measured(
    summary: SessionSummary, prompts: tuple[GenerationRow, ...], rounds: Floats, nodes: Floats
) -> Measured:
    place = {prompt.id: index for index, prompt in enumerate(prompts)}
    round_id, round_generation, length, bonus, cut = rounds
    by_id = np.argsort(round_id)
    node_round = by_id[np.searchsorted(round_id[by_id], nodes[0])] if len(round_id) else np.empty(0, np.int64)
    if np.any(np.diff(node_round) < 0):
        order = np.lexsort((nodes[1], node_round))
        nodes, node_round = nodes[:, order], node_round[order]
    _, _, parent, depth, rank, draft_p, overlap, draft_entropy, target_entropy, match, accepted, target_p = (
        nodes
    )
    depth_of = depth.astype(np.int64)
    is_accepted = accepted == 1
    # Nodes of a round are numbered from 0 without gaps, so a parent lies at its number from the first.
    first = np.searchsorted(node_round, np.arange(len(round_id)))
    root = np.isnan(parent)
    at = first[node_round] + np.where(root, 0, parent).astype(np.int64)
    on_path = root | is_accepted[at]
    accepted_length = length.astype(np.int64)
    place_in_tree = places(depth_of, rank.astype(np.int64), np.where(root, -1, at))
    return Measured(
        summary=summary,
        prompts=prompts,
        round_prompt=np.array([place[int(g)] for g in round_generation], dtype=np.int64),
        accepted_length=accepted_length,
        tokens=accepted_length + bonus.astype(np.int64),
        node_round=node_round.astype(np.int64),
        # Children of the root share a number below those of all nodes of the round.
        family=np.where(root, first[node_round] + node_round, at + node_round + 1),
        depth=depth_of,
        rank=rank.astype(np.int64),
        draft_p=draft_p.copy(),
        overlap=overlap.copy(),
        draft_entropy=draft_entropy.copy(),
        target_entropy=target_entropy.copy(),
        match=match == 1,
        accepted=is_accepted,
        on_path=on_path,
        at_risk=at_risk_columns(on_path, depth_of, accepted_length[node_round], (cut == 1)[node_round]),
        target_p=target_p.copy(),
        cut=cut == 1,
        tree=tree_ids(node_round.astype(np.int64), place_in_tree, len(round_id)),
    )
