"""Grows draft trees level by level from the distributions of any kind of draft.

Static shapes are filled; dynamic trees are chosen by the draft's own probabilities (EAGLE-2,
arXiv 2406.16858, section 4).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import torch

from spectui.decoding.errors import UsageError
from spectui.decoding.target.distributions import distribution, entropy, largest, softmax_sums
from spectui.decoding.trees.shape import ROOT, BoolArray, DynamicShape, IntArray, Shape, TokenTree, TreeShape

Score = Callable[[IntArray, IntArray, BoolArray, IntArray], torch.Tensor]
"""``score(token, depth, mask, above)`` feeds m nodes to the draft and returns float32 logits ``[m, W]``.

Each node takes the next slot behind those fed before; `mask` ``[m, slots]`` is true for the slots of a
node's ancestors and its own. `above` is the row of its parent in the call before, 0 for children of the root.
"""


@dataclass(frozen=True)
class Expansion:
    """A finished tree, and the slots of the nodes that the draft was fed, by node index."""

    tree: TokenTree
    slot: dict[int, int]


class Expander:
    """Grows the trees of one shape from one kind of distribution.

    `vocab_size` is the target's; `ids` ``[W]`` maps columns of the draft's logits to target tokens and is
    None where column is token (then W may not exceed `vocab_size`). With `cheap_levels` a further level costs
    the draft next to nothing: dynamic trees are the best of all there are, not of a few that are expanded.
    `confident` is true for a draft that estimates the acceptance of its tokens.

    Greedy decoding takes the most likely children. Sampling draws those of a static shape without
    replacement, and takes the most likely ones of a dynamic tree too: chosen by rank, the tree depends on the
    context alone, and the acceptance test of deterministic children is lossless for it, whereas a choice
    *among drawn* nodes would favour some draws over others. Raises `UsageError` when there are fewer tokens
    than siblings.
    """

    def __init__(
        self,
        shape: Shape,
        vocab_size: int,
        width: int,
        *,
        ids: IntArray | None = None,
        temperature: float = 0.0,
        top_p: float = 1.0,
        device: torch.device | None = None,
        cheap_levels: bool = False,
        confident: bool = False,
    ) -> None:
        self._cheap_levels, self._confident = cheap_levels, confident
        self.vocab_size, self._ids, self.columns = vocab_size, ids, width
        self._token_of = list(range(width)) if ids is None else ids.tolist()
        self.temperature, self.top_p = temperature, top_p
        self._device = device or torch.device("cpu")
        self.generator = torch.Generator(device=self._device)
        self.begin(0)
        self.use(shape)

    def begin(self, seed: int) -> None:
        """Draw from `seed` from now on."""
        self.generator.manual_seed(seed)

    def use(self, shape: Shape) -> None:
        """Grow trees of `shape` from now on. Raises `UsageError` when there are fewer tokens than siblings, or nothing
        that a limit of confidence could be held against."""
        if isinstance(shape, TreeShape) and shape.width > self.columns:
            raise UsageError(
                f"tree '{shape.name}' has {shape.width} siblings; the draft knows {self.columns} tokens"
            )
        if isinstance(shape, DynamicShape) and shape.confidence and not self._confident:
            raise UsageError(
                f"tree '{shape.name}' ends where a confidence head expects it to, and this draft has none; leave out "
                f"~{shape.confidence:g}, or draft with a DSpark head that has one (enable_confidence_head)"
            )
        self.shape = (
            replace(shape, exhaustive=True)
            if self._cheap_levels and isinstance(shape, DynamicShape)
            else shape
        )
        self.drawn = self.temperature > 0.0 and isinstance(shape, TreeShape)

    def grow(
        self,
        root_logits: torch.Tensor,
        score: Score,
        max_depth: int,
        confidence: Callable[[], torch.Tensor] | None = None,
    ) -> Expansion:
        """A tree at most `max_depth` deep from the draft's logits after the root, ``[1, W]``.

        `confidence` returns the chance ``[m]`` that what is drafted below each node fed last is accepted, of a draft
        that is confident.
        """
        return self._grow(_FedLevels(self, root_logits, score, confidence), max_depth)

    def grow_product(self, logits: torch.Tensor, max_depth: int) -> TokenTree:
        """A tree at most `max_depth` deep from distributions that depend on the depth alone: the logits of depth 1, 2,
        ... are the rows of `logits` ``[D, W]``. No node has a slot: none is fed to the draft."""
        return self._grow(_ProductLevels(self, logits), min(max_depth, len(logits))).tree

    def _grow(self, levels: _Levels, max_depth: int) -> Expansion:
        growth = _Growth()
        if isinstance(self.shape, DynamicShape):
            kept = self._choose(growth, self.shape, levels, min(max_depth, self.shape.max_depth))
            growth.keep_only(kept)
        else:
            self._fill(growth, self.shape.trimmed(max_depth), levels)
        return Expansion(self._tree(growth), growth.slot)

    def _fill(self, growth: _Growth, shape: TreeShape, levels: _Levels) -> None:
        """Fill every node of `shape` for which there is a token of some probability."""
        inner, made = set(shape.parent.tolist()), {ROOT: ROOT}
        parents = [[ROOT], *([i for i in level.tolist() if i in inner] for level in shape.levels)]
        for places, level in zip(parents, shape.levels, strict=False):
            numbers = self._numbers([place in made for place in places])
            above = [made[place] for place in places if place in made]
            if not above:
                continue
            if above != [ROOT]:
                levels.descend(growth, above)
            candidates = levels.candidates(growth, above, int(shape.rank[level].max()) + 1, numbers)
            row_of = {node: row for row, node in enumerate(above)}
            for i in level.tolist():
                parent = made.get(int(shape.parent[i]))
                if parent is None:
                    continue
                node = growth.add(parent, int(shape.rank[i]), row_of[parent], candidates)
                if node is not None:
                    made[i] = node

    def _numbers(self, made: list[bool]) -> torch.Tensor | None:
        """The numbers ``[m, W]`` by which children are drawn below the m places of a level that were `made`; None where
        children are not drawn. They are drawn for the other places too: the device's do not know which were made."""
        if not self.drawn:
            return None
        numbers = torch.empty(len(made), self.columns, device=self._device)
        numbers.exponential_(generator=self.generator)
        return numbers if all(made) else numbers[[row for row, there in enumerate(made) if there]]

    def _choose(self, growth: _Growth, shape: DynamicShape, levels: _Levels, depth: int) -> list[int]:
        """The best nodes of all that were scored (see `best_nodes`), each before the branch of its siblings of
        higher rank: an accepted path then mostly lies in the target's cache as it has to stay there."""
        above = [ROOT]
        kept: list[int] = []
        worst = -math.inf
        width = min(shape.width, self.columns)
        for level in range(1, depth + 1):
            candidates = levels.candidates(growth, above, width)
            first = growth.size
            if shape.confidence:
                growth.trust(above, levels.confidence())
            for row, parent in enumerate(above):
                if shape.confidence and growth.trusted[parent] < shape.confidence:
                    continue
                so_far = growth.reach_of(parent)
                for rank in range(width):
                    # Neither it nor its siblings of higher rank could be among the best.
                    if so_far + candidates.logprob[row][rank] <= worst:
                        break
                    growth.add(parent, rank, row, candidates)
            reach = growth.reach
            kept = best_nodes(reach, growth.depth, shape.size)
            if len(kept) == shape.size:
                worst = min(reach[i] for i in kept)
            if level == depth:
                break
            # Probabilities only fall on the way down: what is not among the best now has no descendant
            # that ever will be, so that it need not be expanded.
            fresh = [i for i in kept if i >= first]
            above = sorted(sorted(fresh, key=lambda i: -reach[i])[: shape.frontier])
            if not above or sum(math.exp(reach[i]) for i in above) < shape.stop:
                break
            levels.descend(growth, above)
        if shape.floor > 0.0 and len(kept) > shape.least:
            likely = sorted(i for i in kept if growth.reach[i] >= math.log(shape.floor))
            kept = max(likely, best_nodes(growth.reach, growth.depth, shape.least), key=len)
        return growth.branch_by_branch(kept)

    def candidates(
        self,
        growth: _Growth,
        above: list[int],
        logits: torch.Tensor,
        width: int,
        numbers: torch.Tensor | None = None,
    ) -> _Candidates:
        """`width` children for each of the nodes `above`, whose logits are the rows of `logits`; with `numbers` they
        are drawn by these."""
        if self.temperature == 0.0:
            columns, values = largest(logits, width)
            logs, nats = softmax_sums(logits, [row[0] for row in values])
            logprob = [
                [_likelihood(value - log) for value in row] for row, log in zip(values, logs, strict=True)
            ]
        else:
            columns, logprob, nats = self._sampled_candidates(growth, above, logits, width, numbers)
        return _Candidates([[self._token_of[column] for column in row] for row in columns], logprob, nats)

    def _sampled_candidates(
        self,
        growth: _Growth,
        above: list[int],
        logits: torch.Tensor,
        width: int,
        numbers: torch.Tensor | None,
    ) -> tuple[list[list[int]], list[list[float]], list[float]]:
        """Columns, log-probabilities and entropies when sampling."""
        q = distribution(logits, self.temperature, self.top_p)
        if numbers is not None:
            growth.rows += zip(above, q, strict=True)
            # The exponential race: q / Exp(1) orders tokens as successive draws without replacement do.
            chosen = (q / numbers).topk(width, dim=-1).indices
        else:
            # Likelihood only grows with the logit, and the best one's is wanted below.
            chosen = logits.topk(width, dim=-1).indices
        picked, best = q.gather(1, chosen), logits.gather(1, chosen[:, :1])
        likely = picked.tolist()
        logprob = [[_likelihood(math.log(p)) if p > 0.0 else -math.inf for p in row] for row in likely]
        nats = entropy(q, logits, self.temperature, best.flatten().tolist(), [row[0] for row in likely])
        return chosen.tolist(), logprob, nats

    def _tree(self, growth: _Growth) -> TokenTree:
        rows = None
        if self.drawn:
            rows = np.full((growth.size + 1, self.vocab_size), np.nan, dtype=np.float32)
            columns = slice(self.columns) if self._ids is None else self._ids
            for node, q in growth.rows:
                rows[node + 1] = 0.0
                rows[node + 1, columns] = q.cpu().numpy()
        return TokenTree(
            token=np.asarray(growth.token, dtype=np.int64),
            parent=np.asarray(growth.parent, dtype=np.int64),
            depth=np.asarray(growth.depth, dtype=np.int64),
            rank=np.asarray(growth.rank, dtype=np.int64),
            draft_logprob=np.asarray(growth.logprob, dtype=np.float64),
            draft_entropy=np.asarray(growth.entropy, dtype=np.float64),
            draw="without_replacement" if self.drawn else "deterministic",
            draft_rows=rows,
        )


def _likelihood(log: float) -> float:
    """`log`, or minus infinity for a NaN. Never above 0, where rounding may bring it: a child must not be likelier than
    its parent."""
    return min(0.0, log) if log == log else -math.inf


def best_nodes(reach: Sequence[float], depth: Sequence[int], count: int) -> list[int]:
    """The `count` nodes that the draft thinks likeliest to be reached, ascending (all when there are fewer).

    `reach` and `depth` are of length N: the log-probability of the path to a node, never above its parent's,
    and its depth, parents numbered before children and siblings best first. Where probabilities are equal
    the shallower and then the earlier node wins, so that the ancestors and better siblings of a chosen
    node are chosen too. Lists and not arrays: there are dozens of nodes, not thousands.
    """
    order = sorted(range(len(reach)), key=lambda i: (-reach[i], depth[i]))
    return sorted(order[:count])


@dataclass(frozen=True)
class _Candidates:
    """Children for m nodes: target tokens and log-probabilities ``[m][k]``, entropies in nats ``[m]``."""

    ids: list[list[int]]
    logprob: list[list[float]]
    nats: list[float]


class _Growth:
    """The nodes of a growing tree; lists, because they are few and are added one by one."""

    def __init__(self) -> None:
        self.token: list[int] = []
        self.parent: list[int] = []
        self.depth: list[int] = []
        self.rank: list[int] = []
        self.logprob: list[float] = []
        self.entropy: list[float] = []
        self.reach: list[float] = []
        """Log-probability of the path from the root to the node."""
        self.slot: dict[int, int] = {}
        """Nodes fed to the draft, in order."""
        self.rows: list[tuple[int, torch.Tensor]] = []
        self.trusted: dict[int, float] = {}
        """The draft's estimate that a path through a node and to a child of it is accepted; of a confident one."""
        self._row = {ROOT: 0}

    @property
    def size(self) -> int:
        return len(self.token)

    def add(self, parent: int, rank: int, row: int, candidates: _Candidates) -> int | None:
        """The node that is candidate `rank` of row `row`; None when it has no probability."""
        logprob = candidates.logprob[row][rank]
        if logprob == -math.inf:
            return None
        self.token.append(candidates.ids[row][rank])
        self.parent.append(parent)
        self.depth.append(1 if parent == ROOT else self.depth[parent] + 1)
        self.rank.append(rank)
        self.logprob.append(logprob)
        self.entropy.append(candidates.nats[row])
        self.reach.append(logprob + self.reach_of(parent))
        return self.size - 1

    def reach_of(self, node: int) -> float:
        """Log-probability of the path to `node`, which may be the root."""
        return 0.0 if node == ROOT else self.reach[node]

    def trust(self, nodes: list[int], confidence: list[float]) -> None:
        """Take note of the chance that what is drafted below each of `nodes` is accepted."""
        for node, chance in zip(nodes, confidence, strict=True):
            self.trusted[node] = chance if node == ROOT else chance * self.trusted[self.parent[node]]

    def score(self, score: Score, nodes: list[int]) -> torch.Tensor:
        """Feed `nodes`, children of those fed last; logits ``[len(nodes), W]`` after each."""
        first = len(self.slot)
        self.slot |= {node: first + k for k, node in enumerate(nodes)}
        mask = np.zeros((len(nodes), len(self.slot)), dtype=np.bool_)
        for row, node in enumerate(nodes):
            ancestor = node
            while ancestor != ROOT:
                mask[row, self.slot[ancestor]] = True
                ancestor = self.parent[ancestor]
        above = np.asarray([self._row[self.parent[node]] for node in nodes])
        self._row = {node: row for row, node in enumerate(nodes)}
        return score(
            np.asarray([self.token[node] for node in nodes]),
            np.asarray([self.depth[node] for node in nodes]),
            mask,
            above,
        )

    def branch_by_branch(self, nodes: list[int]) -> list[int]:
        """`nodes`, ascending and with every parent, in depth-first order."""
        children: dict[int, list[int]] = {}
        for node in nodes:
            children.setdefault(self.parent[node], []).append(node)
        order: list[int] = []
        waiting = children.get(ROOT, [])[::-1]
        while waiting:
            node = waiting.pop()
            order.append(node)
            waiting += children.get(node, [])[::-1]
        return order

    def keep_only(self, nodes: list[int]) -> None:
        """Number `nodes` by their order and drop all others; every node comes after its parent."""
        index = {ROOT: ROOT} | {old: new for new, old in enumerate(nodes)}
        self.parent = [index[self.parent[i]] for i in index if i != ROOT]
        for name in ("token", "depth", "rank", "logprob", "entropy", "reach"):
            values = getattr(self, name)
            setattr(self, name, [values[i] for i in index if i != ROOT])
        self.slot = {index[node]: slot for node, slot in self.slot.items() if node in index}
        self.rows = []


class _Levels(Protocol):
    """Distributions of one level of a growing tree after another."""

    def candidates(
        self, growth: _Growth, above: list[int], width: int, numbers: torch.Tensor | None = None
    ) -> _Candidates:
        """`width` children for each of the nodes `above`, those that the last `descend` named, see
        `Expander.candidates`."""

    def descend(self, growth: _Growth, above: list[int]) -> None:
        """Go on to the children of the nodes `above`."""

    def confidence(self) -> list[float]:
        """The chance that what is drafted below each of those nodes is accepted, of a confident draft."""


class _FedLevels:
    """Levels of a draft that is fed the nodes of the one before."""

    def __init__(
        self,
        expander: Expander,
        root_logits: torch.Tensor,
        score: Score,
        confidence: Callable[[], torch.Tensor] | None,
    ) -> None:
        self._expander, self._logits, self._score = expander, root_logits, score
        self._confidence = confidence

    def candidates(
        self, growth: _Growth, above: list[int], width: int, numbers: torch.Tensor | None = None
    ) -> _Candidates:
        return self._expander.candidates(growth, above, self._logits, width, numbers)

    def descend(self, growth: _Growth, above: list[int]) -> None:
        self._logits = growth.score(self._score, above)

    def confidence(self) -> list[float]:
        assert self._confidence is not None
        return self._confidence().tolist()


class _ProductLevels:
    """Levels of a draft whose distributions depend on the depth alone, ``[D, W]``: sorted once for all nodes."""

    def __init__(self, expander: Expander, logits: torch.Tensor) -> None:
        self._expander, self._logits, self._level = expander, logits, 0
        self._sorted: _Candidates | None = None

    def candidates(
        self, growth: _Growth, above: list[int], width: int, numbers: torch.Tensor | None = None
    ) -> _Candidates:
        level, expander = self._level, self._expander
        if numbers is not None:
            logits = self._logits[level : level + 1].expand(len(above), -1)
            return expander.candidates(growth, above, logits, width, numbers)
        if self._sorted is None:
            widest = max(width, expander.shape.width if isinstance(expander.shape, TreeShape) else 0)
            self._sorted = expander.candidates(growth, above, self._logits, widest)
        best, count = self._sorted, len(above)
        return _Candidates(
            [best.ids[level]] * count, [best.logprob[level]] * count, [best.nats[level]] * count
        )

    def descend(self, growth: _Growth, above: list[int]) -> None:
        self._level += 1

    def confidence(self) -> list[float]:
        raise NotImplementedError("no draft of this kind is confident")
