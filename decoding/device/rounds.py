"""A round on the device: draft, verify, accept, gather, and then one wait for everything that is recorded."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch

from spectui.decoding.acceptance import Verdict
from spectui.decoding.device.acceptance import Accepted, accept_greedy, accept_sampling
from spectui.decoding.device.clock import Clock
from spectui.decoding.device.eagle import DeviceEagleDrafter
from spectui.decoding.device.figures import Figures, distribution, packed, unpacked
from spectui.decoding.device.graphs import Graphs
from spectui.decoding.device.lm import DeviceLMDrafter
from spectui.decoding.device.model import BufferedModel
from spectui.decoding.device.static_tree import DeviceTree
from spectui.decoding.device.tree_index import GrownTreeIndex
from spectui.decoding.drafters.combined import CombinedDrafter
from spectui.decoding.drafters.lookup import LookupDrafter
from spectui.decoding.errors import DecodingError
from spectui.decoding.trees.shape import Draw, TokenTree

ON_DEVICE = (DeviceLMDrafter, DeviceEagleDrafter)
"""Drafters that leave their trees on the device."""

if TYPE_CHECKING:
    from spectui.decoding.engine import Round, SpeculativeDecoder
    from spectui.decoding.target.language_model import Scored
    from spectui.decoding.trees.shape import IntArray


class DeviceRounds:
    """The rounds of a `SpeculativeDecoder` whose target is a `BufferedModel`.

    The judgement, everything between the target's logits and the transfer to the host, is captured as the forwards
    are: by the size, depth and width of the tree, whose shape lies in tensors like the rest, and by how it was drawn.
    """

    def __init__(self, decoder: SpeculativeDecoder) -> None:
        assert isinstance(decoder.target, BufferedModel)
        self._decoder, self._target = decoder, decoder.target
        self._clock = Clock(self._target.device)
        drafter = decoder.drafter
        self._lookup: LookupDrafter | None = None
        if isinstance(drafter, CombinedDrafter):
            drafter, self._lookup = drafter.parts
        self._grower = drafter if isinstance(drafter, ON_DEVICE) else None
        """What leaves its trees on the device, wherever lookup has no match."""
        self._judging = Graphs(self._target.device)
        self._buffers: dict[tuple[int, int, int, Draw], _JudgeBuffers] = {}

    @property
    def graphs(self) -> tuple[Graphs, ...]:
        """All that is captured of a round, the drafter's part included."""
        theirs = () if self._grower is None else self._grower.graphs
        return self._target.graphs, self._target.move_graphs, self._judging, *theirs

    def capture_failure(self) -> str | None:
        """Why something that was to be captured is not; None where nothing went wrong so far."""
        return next((graphs.reason for graphs in self.graphs if graphs.failed), None)

    def round(self, number: int, root: int, produced: int, rng: np.random.Generator) -> Round:
        """As `SpeculativeDecoder`'s own round."""
        from spectui.decoding.engine import Round

        decoder, target, clock = self._decoder, self._target, self._clock
        began, start = time.perf_counter(), clock.mark()
        prefix = target.length + 1
        tree = self._drafted(root, target.deepest())
        drafted = clock.mark()
        scored = self._scored(root, tree)
        verified = clock.mark()

        logits = self._processed(tree, scored)
        state = rng.bit_generator.state
        flat, slots = self._judged(tree, logits, rng)
        target.compact(slots, 0)
        found = self._fetched(flat, tree.index.size)
        if not found.finite:
            raise DecodingError(
                f"the target's logits behind token {prefix} are not finite numbers; {decoder.settings.not_finite}"
            )
        # As many numbers are drawn as on the other path, so that both go on alike.
        rng.bit_generator.state = state
        rng.random(found.draws)
        at_home, kept = found.tree(tree.draw)
        at_home.check()
        nodes = [new for new, old in enumerate(kept) if found.on_path[old]]
        path, bonus, cut, finish = decoder.ended(at_home, Verdict(tuple(nodes), found.bonus), produced)
        target.commit(1 + len(path))
        if finish is None and target.length + 1 >= target.context:
            finish = "context"
        self._told(root, tree, at_home, scored, found, kept, path, bonus)
        # The device has come past these marks: the transfer waited for what was behind them.
        draft_ms, verify_ms = 1e3 * clock.seconds(start, drafted), 1e3 * clock.seconds(drafted, verified)
        best_of = np.asarray(found.best)
        return Round(
            number=number,
            prefix_length=prefix,
            tree=at_home,
            path=path,
            bonus=bonus,
            cut=cut,
            finish=finish,
            target_p=np.asarray(found.target_p)[kept],
            target_entropy=np.asarray(found.target_entropy)[kept],
            match=at_home.token == best_of[np.asarray(found.parent, dtype=np.int64)[kept] + 1],
            draft_ms=draft_ms,
            verify_ms=verify_ms,
            other_ms=max(1e3 * (time.perf_counter() - began) - draft_ms - verify_ms, 0.0),
        )

    def _drafted(self, root: int, max_depth: int) -> DeviceTree:
        """The drafter's tree, on the device."""
        grown = TokenTree.empty() if self._lookup is None else self._lookup.propose(root, max_depth)
        if not grown.size and self._grower is not None:
            tree = self._grower.propose_tensors(root, max_depth)
            if tree is not None:
                return tree
        if not grown.size:
            grown = self._decoder.drafter.propose(root, max_depth=max_depth)
        grown.check()
        return DeviceTree.of(grown, self._target.device)

    def _scored(self, root: int, tree: DeviceTree) -> Scored:
        """What the target makes of the root and the tree."""
        first = torch.full((1,), root, dtype=torch.int64, device=self._target.device)
        index, ids = tree.index, torch.cat([first, tree.token])
        if isinstance(index, GrownTreeIndex):
            return self._target.append_tensors(ids, torch.cat([first.new_zeros(1), index.depth]), index.above)
        return self._target.append_tensors(ids, np.concatenate([[0], index.depth]), index.above)

    def _processed(self, tree: DeviceTree, scored: Scored) -> torch.Tensor:
        """The logits that decide. Where the model has settings of its own, the tree has to be waited for: they are
        functions of the ids, and transformers' processors are not captured."""
        assert scored.logits is not None
        of_prompt = self._decoder.of_prompt
        if of_prompt is None:
            return scored.logits
        token, parent = tree.token.cpu().numpy(), tree.index.parent.cpu().numpy()
        return of_prompt.processed(token, parent, scored.logits)

    def _judged(
        self, tree: DeviceTree, logits: torch.Tensor, rng: np.random.Generator
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The figures as `packed` puts them side by side, and where the path lies in the cache."""
        # Lookup's chains and drawn ones may be of one size, and are judged by different rules.
        key = (tree.index.size, tree.index.max_depth, tree.index.width, tree.draw)
        if key not in self._buffers:
            self._buffers[key] = _JudgeBuffers.allocate(tree, logits)
        buffers = self._buffers[key]
        uniforms = None if self._decoder.config.greedy else torch.from_numpy(rng.random(tree.index.size + 1))
        buffers.load(tree, logits, uniforms)
        found: tuple[torch.Tensor, torch.Tensor] = self._judging.run(key, lambda: self._judge(buffers))
        return found

    def _judge(self, buffers: _JudgeBuffers) -> tuple[torch.Tensor, torch.Tensor]:
        settings, tree, index = self._decoder.settings, buffers.tree, buffers.tree.index
        top, best = buffers.logits.max(-1)
        p = distribution(buffers.logits, temperature=settings.temperature, top_p=settings.top_p)
        if settings.config.greedy:
            accepted = accept_greedy(tree.token, buffers.parent, buffers.ancestors, tree.valid, best)
        else:
            accepted = accept_sampling(
                tree.token, buffers.table, tree.valid, p, tree.rows, buffers.uniforms, index.max_depth
            )
        flat = packed(
            tree, accepted, buffers.parent, buffers.rank, buffers.slot, p, best, top.isfinite().all()
        )
        return flat, _slots(accepted, index.max_depth)

    def _fetched(self, flat: torch.Tensor, size: int) -> Figures:
        """The figures on the host: what the round waits for the device for."""
        return unpacked(flat.cpu().tolist(), size)

    def _told(
        self, root: int, tree: DeviceTree, at_home: TokenTree, scored: Scored, found: Figures, kept: IntArray,
        path: tuple[int, ...], bonus: int | None,
    ) -> None:  # fmt: skip
        """Let the drafter know what became of its tree."""
        if self._grower is not None and tree.fed:
            self._grower.settle([found.slot[old] for old in kept])
        if len(kept) != len(found.valid):
            rows = torch.from_numpy(np.concatenate([[0], kept + 1])).to(
                self._target.device, non_blocking=True
            )
            scored = scored.rows(rows)
        self._decoder.drafter.observe(root, at_home, scored, path, bonus)


@dataclass
class _JudgeBuffers:
    """Where a judgement of one size reads: the same tensors every time."""

    tree: DeviceTree
    logits: torch.Tensor
    uniforms: torch.Tensor
    parent: torch.Tensor
    rank: torch.Tensor
    slot: torch.Tensor
    ancestors: torch.Tensor
    table: torch.Tensor

    @classmethod
    def allocate(cls, tree: DeviceTree, logits: torch.Tensor) -> _JudgeBuffers:
        """Room for trees and logits of these sizes."""
        index = tree.index
        own = replace(
            tree,
            token=torch.empty_like(tree.token),
            valid=torch.empty_like(tree.valid),
            logprob=torch.empty_like(tree.logprob),
            entropy=torch.empty_like(tree.entropy),
            rows=None if tree.rows is None else torch.empty_like(tree.rows),
        )
        return cls(
            own,
            torch.empty_like(logits),
            torch.empty(index.size + 1, dtype=torch.float64, device=logits.device),
            torch.empty_like(index.parent),
            torch.empty_like(index.rank),
            torch.empty_like(index.slot),
            torch.empty_like(index.ancestors),
            torch.empty_like(index.table),
        )

    def load(self, tree: DeviceTree, logits: torch.Tensor, uniforms: torch.Tensor | None) -> None:
        """Put a round's tensors here."""
        for name in ("token", "valid", "logprob", "entropy", "rows"):
            if getattr(tree, name) is not None:
                getattr(self.tree, name).copy_(getattr(tree, name))
        self.logits.copy_(logits)
        if uniforms is not None:
            self.uniforms.copy_(uniforms, non_blocking=True)
        for name in ("parent", "rank", "slot", "ancestors", "table"):
            getattr(self, name).copy_(getattr(tree.index, name))


def _slots(accepted: Accepted, depth: int) -> torch.Tensor:
    """Where the path lies in the cache, the root first, ``[depth + 1]``; behind it slots stay as they are."""
    size = len(accepted.on_path)
    place = torch.arange(depth + 1, device=accepted.on_path.device)
    if not size:
        return place
    order = torch.where(accepted.on_path, torch.arange(1, size + 1, device=place.device), size + 1)
    order = order.sort().values[:depth]
    return torch.cat([place[:1], torch.where(order <= size, order, place[1:])])
