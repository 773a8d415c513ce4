"""One round on the host: draft, verify, accept, commit, and the figures of every node."""

from __future__ import annotations

import math
import time

import numpy as np
import torch
from numpy.typing import NDArray

from spectui.decoding.acceptance import accept_greedy, accept_sampling
from spectui.decoding.drafters.base import Drafter
from spectui.decoding.phases import ACCEPT, DRAFT, FIGURES, KEEP, LEARN, VERIFY, phase
from spectui.decoding.rounds import BaseRounds, Round, Rules
from spectui.decoding.target.distributions import best_tokens, distribution, entropy, pick, softmax_sums
from spectui.decoding.target.language_model import LanguageModel
from spectui.decoding.trees.shape import FloatArray, IntArray, TokenTree, ancestor_mask


class HostRounds(BaseRounds):
    """`decoding.rounds.Rounds` with trees and verdicts in numpy."""

    interruptible = True

    def __init__(self, rules: Rules, target: LanguageModel, drafter: Drafter) -> None:
        super().__init__(rules)
        self._target, self._drafter = target, drafter

    def reserve(self, tokens: int) -> None:
        """Forget the sequence; its buffers grow with it."""
        self._target.reset()

    def capture_failure(self) -> None:
        """Nothing is captured on this path."""

    @torch.inference_mode()
    def step(self, root: int, produced: int, rng: np.random.Generator) -> Round:
        """See `Rounds.step`."""
        self.number += 1
        target, rules = self._target, self.rules
        start = time.perf_counter()
        prefix = target.length + 1
        with phase(DRAFT):
            tree = self._drafter.propose(root, max_depth=target.deepest())
        tree.check()
        drafted = time.perf_counter()

        ids = np.concatenate([[root], tree.token])
        depth = np.concatenate([[0], tree.depth])
        with phase(VERIFY):
            scored = target.append(ids, depth, ancestor_mask(tree.parent))
        logits = scored.logits
        assert logits is not None
        if self.prompt is not None:
            logits = self.prompt.processed(tree.token, tree.parent, logits)
        with phase(ACCEPT):
            best, top = best_tokens(logits)
        # The largest of a row shows every NaN, and an infinity that softmax cannot take.
        self.check_finite(bool(np.isfinite(top).all()), prefix)
        verified = time.perf_counter()

        p = None
        if not rules.greedy:
            with phase(FIGURES):
                p = distribution(logits, rules.temperature, rules.top_p)
        with phase(ACCEPT):
            verdict = accept_greedy(tree, best) if p is None else accept_sampling(tree, p.cpu().numpy(), rng)
        end = self.outcome(tree, verdict, produced, target.context - prefix)
        with phase(KEEP):
            target.keep([0, *(node + 1 for node in end.path)])
        with phase(LEARN):
            self._drafter.observe(root, tree, scored, end.path, end.bonus)
        with phase(FIGURES):
            target_p, target_entropy = self._figures(tree, logits, best, top, p)
        return Round(
            number=self.number,
            prefix_length=prefix,
            tree=tree,
            path=end.path,
            bonus=end.bonus,
            cut=end.cut,
            finish=end.finish,
            target_p=target_p,
            target_entropy=target_entropy,
            match=tree.token == best[tree.parent + 1],
            draft_ms=1e3 * (drafted - start),
            verify_ms=1e3 * (verified - drafted),
            other_ms=1e3 * (time.perf_counter() - verified),
        )

    def _figures(
        self,
        tree: TokenTree,
        logits: torch.Tensor,
        best: IntArray,
        top: NDArray[np.float32],
        p: torch.Tensor | None,
    ) -> tuple[FloatArray, FloatArray]:
        """`Round.target_p` and `Round.target_entropy` from the rows that have children.

        `p` are the distributions of all rows, where they were needed to judge the tree.
        """
        # Lists: there are few nodes, and each call on an array costs as much as a dozen of them.
        parents = [parent + 1 for parent in tree.parent.tolist()]
        rows = sorted(set(parents))
        row_of = {row: i for i, row in enumerate(rows)}
        contiguous = not rows or rows[-1] == len(rows) - 1
        index = (
            slice(len(rows)) if contiguous else torch.tensor(rows, device=logits.device)
        )  # a slice is no copy
        parent_logits = logits[index]
        node_rows = [row_of[parent] for parent in parents]
        if p is None:
            logs, nats = softmax_sums(parent_logits, top[rows].tolist())
            node_logits = pick(parent_logits, node_rows, tree.token.tolist())
            node_p = [
                min(1.0, math.exp(logit - logs[row]))
                for logit, row in zip(node_logits, node_rows, strict=True)
            ]
        else:
            parent_p = p[index]
            # Fetched at once: each row's best token, then the nodes.
            picked = pick(
                parent_p, [*range(len(rows)), *node_rows], [*best[rows].tolist(), *tree.token.tolist()]
            )
            best_p, node_p = picked[: len(rows)], picked[len(rows) :]
            nats = entropy(parent_p, parent_logits, self.rules.temperature, top[rows].tolist(), best_p)
        return np.asarray(node_p), np.asarray([nats[row] for row in node_rows])
