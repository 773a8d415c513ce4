"""One round on the device: draft, verify, accept, compact the cache, and then one wait for all that is recorded."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from spectui.decoding.acceptance import Verdict
from spectui.decoding.device.clock import Clock
from spectui.decoding.device.figures import RoundFigures, host_tree
from spectui.decoding.device.graphs import Graphs
from spectui.decoding.device.judgement import Judge
from spectui.decoding.device.model import BufferedModel
from spectui.decoding.device.transfer import upload
from spectui.decoding.device.tree import DeviceDrafter, DeviceTree
from spectui.decoding.device.tree_index import GrownTreeIndex
from spectui.decoding.drafters.base import Drafter, ReadsBest
from spectui.decoding.drafters.combined import CombinedDrafter
from spectui.decoding.drafters.lookup import LookupDrafter
from spectui.decoding.phases import ACCEPT, DRAFT, FIGURES, KEEP, LEARN, VERIFY, phase
from spectui.decoding.rounds import BaseRounds, Outcome, Round, Rules
from spectui.decoding.target.distributions import top_tokens
from spectui.decoding.target.language_model import Scored
from spectui.decoding.trees.shape import IntArray, TokenTree


class DeviceRounds(BaseRounds):
    """`decoding.rounds.Rounds` on a `BufferedModel`: the host waits for the device once a round."""

    interruptible = False

    def __init__(self, rules: Rules, target: BufferedModel, drafter: Drafter) -> None:
        super().__init__(rules)
        self._target, self._drafter = target, drafter
        self._clock = Clock(target.device)
        self._lookup: LookupDrafter | None = None
        if isinstance(drafter, CombinedDrafter):
            drafter, self._lookup = drafter.parts
        self._best_read = drafter.best_read if isinstance(drafter, ReadsBest) else 0
        self._grower = drafter if isinstance(drafter, DeviceDrafter) else None
        """The drafter that leaves its trees on the device, wherever lookup has no match."""
        self._judge = Judge(rules, target.device)

    @property
    def graphs(self) -> tuple[Graphs, ...]:
        """All that is captured of a round, the drafter's part included."""
        of_drafter = () if self._grower is None else self._grower.graphs
        return self._target.graphs, self._target.move_graphs, self._judge.graphs, *of_drafter

    def reserve(self, tokens: int) -> None:
        """See `Rounds.reserve`."""
        self._target.reserve(tokens)
        if self._grower is not None:
            self._grower.reserve(tokens, self._target.context)

    def capture_failure(self) -> str | None:
        """See `Rounds.capture_failure`."""
        return next((graphs.reason for graphs in self.graphs if graphs.failed), None)

    @torch.inference_mode()
    def step(self, root: int, produced: int, rng: np.random.Generator) -> Round:
        """See `Rounds.step`."""
        self.number += 1
        target, clock = self._target, self._clock
        captured = self._captures()
        began, start = time.perf_counter(), clock.mark()
        prefix = target.length + 1
        with phase(DRAFT):
            tree = self._draft(root, target.deepest())
        drafted = clock.mark()
        with phase(VERIFY):
            scored = self._verify(root, tree)
        verified = clock.mark()

        logits = self._process(tree, scored)
        generator_state = rng.bit_generator.state
        with phase(ACCEPT):
            packed, path_slots = self._judge.judge(tree, logits, rng)
        with phase(KEEP):
            target.compact(path_slots)
        with phase(FIGURES):
            if self._best_read:
                assert scored.logits is not None
                best = top_tokens(scored.logits, self._best_read)
                packed = torch.cat([packed, best.flatten().double()])
            values = packed.cpu().tolist()
            figures = self._judge.figures_of(values)
            if self._best_read:
                of_rows = np.asarray(values[-best.numel() :], dtype=np.int64).reshape(best.shape)
                scored = replace(scored, best=of_rows)
        # The transfer waited for everything before it.
        target.settle()
        if self._grower is not None:
            self._grower.settle()
        self.check_finite(bool(figures.finite[0]), prefix)
        # As many numbers are drawn as on the host, so that both paths go on alike.
        rng.bit_generator.state = generator_state
        rng.random(int(figures.draws[0]))
        grown, kept = host_tree(figures, tree.draw)
        grown.check()
        path = np.flatnonzero(figures.on_path[kept]).tolist()
        verdict = Verdict(tuple(path), int(figures.bonus[0]))
        end = self.outcome(grown, verdict, produced, target.context - prefix)
        target.commit(1 + len(end.path))
        with phase(LEARN):
            self._notify_drafter(root, tree, grown, scored, figures, kept, end)
        draft_ms, verify_ms = 1e3 * clock.seconds(start, drafted), 1e3 * clock.seconds(drafted, verified)
        return Round(
            number=self.number,
            prefix_length=prefix,
            tree=grown,
            path=end.path,
            bonus=end.bonus,
            cut=end.cut,
            finish=end.finish,
            target_p=figures.target_p[kept],
            target_entropy=figures.target_entropy[kept],
            match=grown.token == figures.best[figures.parent[kept] + 1],
            draft_ms=draft_ms,
            verify_ms=verify_ms,
            other_ms=max(1e3 * (time.perf_counter() - began) - draft_ms - verify_ms, 0.0),
            captured=self._captures() > captured,
        )

    def _captures(self) -> int:
        return sum(graphs.captures for graphs in self.graphs)

    def _draft(self, root: int, max_depth: int) -> DeviceTree:
        """The drafter's tree, on the device."""
        tree = TokenTree.empty() if self._lookup is None else self._lookup.propose(root, max_depth)
        if not tree.size and self._grower is not None:
            grown = self._grower.propose_tensors(root, max_depth)
            if grown is not None:
                return grown
        if not tree.size:
            tree = self._drafter.propose(root, max_depth=max_depth)
        tree.check()
        return DeviceTree.of(tree, self._target.device)

    def _verify(self, root: int, tree: DeviceTree) -> Scored:
        """The target's forward of the root and the tree."""
        first = torch.full((1,), root, dtype=torch.int64, device=self._target.device)
        index, ids = tree.index, torch.cat([first, tree.token])
        if isinstance(index, GrownTreeIndex):
            return self._target.append_tensors(ids, torch.cat([first.new_zeros(1), index.depth]), index.above)
        return self._target.append_tensors(ids, np.concatenate([[0], index.depth]), index.above)

    def _process(self, tree: DeviceTree, scored: Scored) -> torch.Tensor:
        """The logits that decide. A model with settings of its own waits for the tree: they are functions of the ids,
        and transformers' processors are not captured."""
        assert scored.logits is not None
        if self.prompt is None:
            return scored.logits
        token, parent = tree.token.cpu().numpy(), tree.index.parent.cpu().numpy()
        return self.prompt.processed(token, parent, scored.logits)

    def _notify_drafter(
        self, root: int, tree: DeviceTree, grown: TokenTree, scored: Scored, figures: RoundFigures[NDArray[Any]],
        kept: IntArray, end: Outcome,
    ) -> None:  # fmt: skip
        """Tell the drafter which nodes were committed; `grown` are the nodes `kept` of `tree`."""
        if self._grower is not None and tree.fed:
            self._grower.set_slots(figures.slot[kept].tolist())
        if len(kept) != tree.index.size:
            rows = np.concatenate([[0], kept + 1])
            best = None if scored.best is None else scored.best[rows]
            scored = replace(scored.rows(upload(rows, self._target.device)), best=best)
        self._drafter.observe(root, grown, scored, end.path, end.bonus)
