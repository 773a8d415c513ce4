"""Any causal language model that shares the target's vocabulary, expanding the tree level by level."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from decoding.distributions import distribution, entropy
from decoding.language_model import LanguageModel
from decoding.tree import ROOT, IntArray, TokenTree, TreeShape


class LMDrafter:
    """Top-ranked children when decoding greedily; children drawn without replacement when sampling.

    The draft's temperature and top-p are the target's: any q is lossless, a similar one accepts more.
    """

    wants_prompt_logits = False

    def __init__(
        self,
        model: LanguageModel,
        shape: TreeShape,
        vocab_size: int,
        *,
        name: str = "lm",
        temperature: float = 0.0,
        top_p: float = 1.0,
        seed: int = 0,
    ) -> None:
        self.name = name
        self._model = model
        self._shape = shape
        self._vocab = vocab_size
        # Padded embeddings may differ in size; what the draft cannot name has probability 0.
        self._named = min(vocab_size, model.vocab_size)
        self._temperature, self._top_p = temperature, top_p
        self._generator = torch.Generator(device=model.device).manual_seed(seed)
        self._pending: list[int] = []
        self._slot: dict[int, int] = {}

    def begin(self, prompt: Sequence[int], prompt_logits: torch.Tensor | None) -> None:
        """Prefill the draft with all but the prompt's last token, which the first proposal feeds."""
        self._model.reset()
        self._slot = {}
        self._pending = list(prompt)
        if len(prompt) < self._model.context and self._can_name(prompt):
            self._model.prefill(prompt[:-1])
            self._pending = [prompt[-1]]

    @torch.inference_mode()
    def propose(self, root: int, max_depth: int) -> TokenTree:
        """Feed what was committed since, then one level after another.

        Empty once the draft's own context is full, or a token came that it has no embedding for: the
        target goes on alone.
        """
        room = self._model.context - self._model.length - len(self._pending)
        shape = self._shape.trimmed(max(0, min(max_depth, room)))
        if not shape.size or not self._can_name(self._pending):
            return TokenTree.empty()
        count = len(self._pending)
        pending = np.asarray(self._pending, dtype=np.int64)
        logits = self._model.append(pending, np.arange(count), np.tri(count, dtype=np.bool_))[-1:]
        self._model.keep(range(count))
        return self._expand(shape, logits)

    def observe(
        self, root: int, tree: TokenTree, logits: torch.Tensor, path: Sequence[int], bonus: int | None
    ) -> None:
        """Keep the accepted nodes the draft has scored; the rest of the path waits for the next proposal."""
        scored = [node for node in path if node in self._slot]
        self._model.keep([self._slot[node] for node in scored])
        rest = [int(tree.token[node]) for node in path[len(scored) :]]
        fresh = rest + ([] if bonus is None else [bonus])
        self._pending = fresh if tree.size else self._pending + fresh
        self._slot = {}

    def seconds_in_models(self) -> float:
        """Time spent in the draft model's forwards."""
        return self._model.forward_seconds

    def _can_name(self, tokens: Sequence[int]) -> bool:
        return max(tokens) < self._model.vocab_size

    def _expand(self, shape: TreeShape, root_logits: torch.Tensor) -> TokenTree:
        """Fill `shape` from the root's logits ``[1, V]`` down; nodes that were not drawn are left out."""
        token = np.full(shape.size, -1, dtype=np.int64)
        logprob, parent_entropy = np.full(shape.size, np.nan), np.full(shape.size, np.nan)
        rows: list[tuple[int, torch.Tensor]] = []
        parents: IntArray = np.asarray([ROOT])
        logits = root_logits
        for level in shape.levels:
            logits = logits[:, : self._named]
            q = distribution(logits, self._temperature, self._top_p)
            if self._temperature > 0.0:
                rows += zip((parents + 1).tolist(), q, strict=True)
            nats = entropy(q, logits, self._temperature)
            self._fill(shape, level, parents, q, nats, token, logprob, parent_entropy)
            inner = np.asarray(
                [i for i in level if token[i] >= 0 and (shape.parent == i).any()], dtype=np.int64
            )
            if not len(inner):
                break
            logits = self._score(shape, inner, token)
            parents = inner
        return self._tree(shape, token, logprob, parent_entropy, rows)

    def _fill(
        self,
        shape: TreeShape,
        level: IntArray,
        parents: IntArray,
        q: torch.Tensor,
        nats: torch.Tensor,
        *out: np.ndarray,
    ) -> None:  # out: token, logprob, parent entropy
        token, logprob, parent_entropy = out
        width = int(shape.rank[level].max()) + 1
        if self._temperature > 0.0:
            # The exponential race: q / Exp(1) orders tokens as successive draws without replacement do.
            race = q / torch.empty_like(q).exponential_(generator=self._generator)
            chosen = race.topk(width, dim=-1).indices
        else:
            chosen = q.topk(width, dim=-1).indices
        picked = q.gather(1, chosen).cpu().numpy().astype(np.float64)
        ids, ent = chosen.cpu().numpy(), nats.cpu().numpy()
        row_of = {int(p): r for r, p in enumerate(parents)}
        for i in level.tolist():
            row = row_of.get(int(shape.parent[i]))
            if row is None or picked[row, shape.rank[i]] <= 0.0:
                continue
            rank = shape.rank[i]
            token[i], parent_entropy[i] = ids[row, rank], ent[row]
            logprob[i] = np.log(picked[row, rank])

    def _score(self, shape: TreeShape, inner: IntArray, token: IntArray) -> torch.Tensor:
        """Logits ``[len(inner), V]`` after the nodes `inner`, each seeing its ancestors and itself."""
        first = len(self._slot)
        self._slot |= {int(node): first + k for k, node in enumerate(inner)}
        mask = np.zeros((len(inner), len(self._slot)), dtype=np.bool_)
        for row, node in enumerate(inner.tolist()):
            while node != ROOT:
                mask[row, self._slot[node]] = True
                node = int(shape.parent[node])
        return self._model.append(token[inner], shape.depth[inner] - 1, mask)

    def _tree(
        self,
        shape: TreeShape,
        token: IntArray,
        logprob: np.ndarray,
        parent_entropy: np.ndarray,
        rows: list[tuple[int, torch.Tensor]],
    ) -> TokenTree:
        """The nodes that got a token, renumbered; ranks stay gapless as undrawn siblings come last."""
        kept = np.flatnonzero(token >= 0)
        index = {ROOT: ROOT} | {int(old): new for new, old in enumerate(kept)}
        self._slot = {index[old]: slot for old, slot in self._slot.items()}
        draft_rows = None
        if self._temperature > 0.0:
            draft_rows = np.full((len(kept) + 1, self._vocab), np.nan, dtype=np.float32)
            for row, q in rows:
                draft_rows[index[row - 1] + 1] = 0.0
                draft_rows[index[row - 1] + 1, : self._named] = q.cpu().numpy()
        return TokenTree(
            token=token[kept],
            parent=np.asarray([index[int(p)] for p in shape.parent[kept]], dtype=np.int64),
            depth=shape.depth[kept],
            rank=shape.rank[kept],
            draft_logprob=logprob[kept],
            draft_entropy=parent_entropy[kept],
            draw="without_replacement" if self._temperature > 0.0 else "deterministic",
            draft_rows=draft_rows,
        )
