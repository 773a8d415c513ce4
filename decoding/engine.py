"""Speculative decoding of one prompt: draft a tree, verify it in one forward pass, keep the accepted path.

    for round in SpeculativeDecoder(RunConfig()).generate("Why is the sky blue?"):
        print(round.tokens)

Knows nothing of databases or screens.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from spectui.decoding.acceptance import Verdict, accept_greedy, accept_sampling
from spectui.decoding.config import RunConfig
from spectui.decoding.device.model import BufferedModel
from spectui.decoding.device.rounds import DeviceRounds
from spectui.decoding.device.switch import language_model
from spectui.decoding.drafters.base import Drafter, NoDrafter
from spectui.decoding.errors import DecodingError
from spectui.decoding.models.generation_settings import GenerationSettings, PromptSettings
from spectui.decoding.models.load import LoadedModels, Progress, load_models, make_drafter
from spectui.decoding.target.distributions import best_tokens, distribution, entropy, pick, softmax_sums
from spectui.decoding.tokens.chat import Asked, Tell
from spectui.decoding.trees.shape import BoolArray, FloatArray, IntArray, TokenTree, ancestor_mask

Finish = Literal["eos", "length", "context"]
"""Why an output ended: an end token (or a stop string of the model's settings), `max_new_tokens`, or the context."""


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
    cut: Literal["eos", "length"] | None
    """Set when the output ended at the path's last node, so that nothing below it had its chance."""
    finish: Finish | None
    """Set on the last round."""
    target_p: FloatArray
    """Target probability of the node, given the prefix that leads to it."""
    target_entropy: FloatArray
    """Entropy (nats) of the target's distribution at the node's parent."""
    match: BoolArray
    """Whether the node is the target's argmax at its parent."""
    draft_ms: float
    verify_ms: float
    other_ms: float

    @property
    def tokens(self) -> tuple[int, ...]:
        """What the round adds to the output: accepted nodes, then the bonus."""
        accepted = tuple(int(self.tree.token[i]) for i in self.path)
        return accepted if self.bonus is None else (*accepted, self.bonus)

    @property
    def accepted(self) -> BoolArray:
        """Whether each node is on the committed path."""
        on_path = np.zeros(self.tree.size, dtype=np.bool_)
        on_path[list(self.path)] = True
        return on_path


def draft_seed(seed: int, position: int) -> int:
    """What a drafter draws from at a prompt; other numbers than those that its tokens are judged with."""
    return int(np.random.SeedSequence([seed, position, 1]).generate_state(1)[0])


class SpeculativeDecoder:
    """Target, drafter and acceptance rule of a `RunConfig`, ready to decode prompt after prompt.

    Loads the models unless `models` brings them (raises `DecodingError` when that fails); `progress`
    is told what is being loaded. One prompt at a time: caches are reused.
    """

    def __init__(
        self, config: RunConfig, *, models: LoadedModels | None = None, progress: Progress | None = None
    ) -> None:
        self.config = config
        self.models = models or load_models(config, progress)
        self.settings = GenerationSettings(self.models.target, config, self.models.tokenizer)
        """What of the model's own settings is obeyed."""
        self.of_prompt: PromptSettings | None = None
        """Those settings on the prompt in hand; None where logits decide as they are."""
        self.drafter: Drafter = make_drafter(config, self.models) if config.speculate else NoDrafter()
        self.target = language_model(self.models.target, self.drafter.feature_layers)
        self.static = DeviceRounds(self) if isinstance(self.target, BufferedModel) else None
        """Takes the rounds where forwards have fixed sizes."""

    def encode(self, prompt: Asked, tell: Tell = lambda note: None) -> list[int]:
        """Token ids of `prompt`, a user's turn or a conversation, through the chat template, as text without one.

        `tell` hears what was done to the prompt that nobody asked for. Raises `DecodingError`.
        """
        return self.models.tokenizer.encode_prompt(prompt, self.config.template_args, tell)

    def generate(self, prompt: str | Sequence[int], *, position: int = 0) -> Iterator[Round]:
        """Rounds until an end token, `max_new_tokens`, or the end of the context.

        `prompt` is text (see `encode`) or token ids. `position` is mixed into the seed: what is sampled
        depends on the configuration, the position and the prompt, and on no prompt before it. Raises
        `DecodingError` when nothing fits.
        """
        ids = self.encode(prompt) if isinstance(prompt, str) else [int(t) for t in prompt]
        if not ids:
            raise DecodingError("the prompt has no tokens; give at least one")
        self.models.tokenizer.check(ids, self.target.rows)
        if len(ids) >= self.target.context:
            raise DecodingError(
                f"the prompt has {len(ids)} tokens, but the model's context holds {self.target.context}; shorten it"
            )
        rng = np.random.default_rng([self.config.seed, position])
        self.of_prompt = self.settings.begin(ids)
        self.target.reset()
        scored = self.target.prefill(ids[:-1], all_logits=self.drafter.wants_prompt_logits)
        self.drafter.begin(ids, scored, draft_seed(self.config.seed, position))
        root, produced, number = ids[-1], 0, 0
        committed = list(ids)
        while True:
            number += 1
            self.target.renew(committed)
            round_ = self._round(number, root, produced, rng)
            yield round_
            if round_.finish:
                return
            if self.of_prompt is not None:
                self.of_prompt.commit(round_.tokens)
            produced += len(round_.tokens)
            committed += round_.tokens
            root = round_.tokens[-1]

    @torch.inference_mode()
    def _round(self, number: int, root: int, produced: int, rng: np.random.Generator) -> Round:
        if self.static is not None:
            return self.static.round(number, root, produced, rng)
        start = time.perf_counter()
        prefix = self.target.length + 1
        tree = self.drafter.propose(root, max_depth=self.target.deepest())
        tree.check()
        drafted = time.perf_counter()

        ids = np.concatenate([[root], tree.token])
        depth = np.concatenate([[0], tree.depth])
        scored = self.target.append(ids, depth, ancestor_mask(tree.parent))
        logits = scored.logits
        assert logits is not None
        if self.of_prompt is not None:
            logits = self.of_prompt.processed(tree.token, tree.parent, logits)
        best, top = best_tokens(logits)
        # The largest of a row shows every NaN, and an infinity that softmax cannot take.
        if not np.isfinite(top).all():
            raise DecodingError(
                f"the target's logits behind token {prefix} are not finite numbers; {self.settings.not_finite}"
            )
        verified = time.perf_counter()

        if self.config.greedy:
            p, verdict = None, accept_greedy(tree, best)
        else:
            p = distribution(logits, self.settings.temperature, self.settings.top_p)
            verdict = accept_sampling(tree, p.cpu().numpy(), rng)
        path, bonus, cut, finish = self._commit(tree, verdict, produced)
        self.drafter.observe(root, tree, scored, path, bonus)

        target_p, target_entropy = self._figures(tree, logits, best, top, p)
        return Round(
            number=number,
            prefix_length=prefix,
            tree=tree,
            path=path,
            bonus=bonus,
            cut=cut,
            finish=finish,
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
        first = not rows or rows[-1] == len(rows) - 1
        index = slice(len(rows)) if first else torch.tensor(rows, device=logits.device)  # a slice is no copy
        of_rows = logits[index]
        if p is None:
            logs, nats = softmax_sums(of_rows, top[rows].tolist())
            at = [row_of[parent] for parent in parents]
            found = pick(of_rows, at, tree.token.tolist())
            likely = [min(1.0, math.exp(logit - logs[row])) for logit, row in zip(found, at, strict=True)]
        else:
            law = p[index]
            # Fetched at once: each row's best token, then the nodes.
            at = [*range(len(rows)), *(row_of[parent] for parent in parents)]
            found = pick(law, at, [*best[rows].tolist(), *tree.token.tolist()])
            nats = entropy(law, of_rows, self.settings.temperature, top[rows].tolist(), found[: len(rows)])
            likely = found[len(rows) :]
        return np.asarray(likely), np.asarray([nats[row_of[parent]] for parent in parents])

    def _commit(
        self, tree: TokenTree, verdict: Verdict, produced: int
    ) -> tuple[tuple[int, ...], int | None, Literal["eos", "length"] | None, Finish | None]:
        """Cut the verdict where the output ends, and keep the root and what is left in the cache."""
        path, bonus, cut, finish = self.ended(tree, verdict, produced)
        self.target.keep([0, *(node + 1 for node in path)])
        if finish is None and self.target.length + 1 >= self.target.context:
            finish = "context"
        return path, bonus, cut, finish

    def ended(
        self, tree: TokenTree, verdict: Verdict, produced: int
    ) -> tuple[tuple[int, ...], int | None, Literal["eos", "length"] | None, Finish | None]:
        """The path, the bonus and how the output ends, with the verdict cut where it does."""
        path: list[int] = []
        bonus: int | None = None
        cut: Literal["eos", "length"] | None = None
        finish: Finish | None = None
        for node in verdict.path:
            path.append(node)
            if self._ends([int(tree.token[node]) for node in path]):
                cut = finish = "eos"
            elif produced + len(path) == self.config.max_new_tokens:
                cut = finish = "length"
            if finish:
                break
        else:
            bonus = verdict.bonus
            if self._ends([*(int(tree.token[node]) for node in path), bonus]):
                finish = "eos"
            elif produced + len(path) + 1 == self.config.max_new_tokens:
                finish = "length"
        return tuple(path), bonus, cut, finish

    def _ends(self, tokens: Sequence[int]) -> bool:
        """Whether the output ends with `tokens`, behind what was committed before the round."""
        return tokens[-1] in self.settings.end_ids or (
            self.of_prompt is not None and self.of_prompt.stops(tokens)
        )
