"""A causal language model with a tree cache: the target, and the model of a draft-model drafter."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from spectui.decoding.errors import DecodingError
from spectui.decoding.target.attention import GROUPED
from spectui.decoding.target.cache import TreeCache
from spectui.decoding.target.layer_inputs import LayerInputs
from spectui.decoding.target.rope import depends_on_length, original_context, sequence_rotary
from spectui.decoding.target.sizes import PROVEN, context_of, embedding_rows, text_config
from spectui.decoding.target.support import layers_refused
from spectui.decoding.trees.shape import BoolArray, IntArray

PREFILL_CHUNK = 512
"""Prompt tokens fed at once; bounds the memory of a long prompt's attention."""

_NOTHING = contextlib.nullcontext()


@dataclass(frozen=True)
class Scored:
    """Outputs of a model at n tokens, each in the context of those before it."""

    logits: torch.Tensor | None
    """float32 ``[n, V]``, row i after token i; None where they were not asked for."""
    features: torch.Tensor | None
    """``[n, k H]``: side by side, the inputs of the k layers that `LanguageModel` was asked to watch, in the
    model's own type; None where it watches none."""
    best: IntArray | None = None
    """``[n, k]``: the likeliest tokens after token i, on the host; None where they were not brought there."""

    def rows(self, index: torch.Tensor) -> Scored:
        """The outputs at the tokens `index` ``[k]`` alone."""
        return Scored(
            None if self.logits is None else self.logits[index],
            None if self.features is None else self.features[index],
        )


class LanguageModel:
    """One sequence in a model: a committed prefix, and tree nodes behind it until `keep` decides.

    `length` counts committed tokens. `forward_seconds` adds up the time spent inside the model. The inputs
    of `feature_layers`, numbered from 0, are captured in every forward. Raises `DecodingError` for a model
    whose state cannot be rolled back, or that has no such layers.
    """

    def __init__(self, model: Any, feature_layers: Sequence[int] = ()) -> None:
        self.model = model
        self._inputs = LayerInputs(model, feature_layers) if feature_layers else None
        self.device: torch.device = model.device
        self._dtype: torch.dtype = (
            model.dtype
        )  # read in every round; the model searches its parameters for it
        config = text_config(model.config)
        self.vocab_size: int = config.vocab_size
        self.rows = embedding_rows(model)
        """Tokens that can be fed."""
        self.length = 0
        self.forward_seconds = 0.0
        self._cache = TreeCache()
        self._rotary = sequence_rotary(model, config)
        """Set where rotary frequencies depend on the length of the sequence."""
        self.context: int = context_of(config)
        """Positions of the model; prompt and output together must fit."""
        if self._rotary is None and depends_on_length(config):
            self.context = original_context(config)  # beyond it another rotary embedding would be needed
        self._window: int | None = getattr(config, "sliding_window", None)
        self._layer_types: set[str] = set(getattr(config, "layer_types", None) or ())
        if reason := layers_refused(config):
            raise DecodingError(f"model type '{config.model_type}' {reason}")
        # torch converts a boolean mask to numbers in every layer; where a layer takes numbers, they are made once.
        self._additive = config._attn_implementation != "sdpa"
        self._groups = 1
        if config._attn_implementation == GROUPED and model.config.model_type in PROVEN:
            heads = int(config.num_attention_heads)
            self._groups = heads // int(getattr(config, "num_key_value_heads", None) or heads)

    def reset(self) -> None:
        """Forget the sequence."""
        self._cache.reset()
        self.length = 0
        if self._rotary is not None:
            self._rotary.begin(0)

    def deepest(self) -> int:
        """Greatest depth of the next tree: the room in the context behind its root."""
        length = self.length + 1
        room = self.context - length - 1
        most = None if self._rotary is None else self._rotary.deepest(length)
        return room if most is None else min(room, most)

    def renew(self, tokens: Sequence[int]) -> None:
        """Compute the cache anew if `generate` would at this length; most models never do.

        `tokens` is the whole sequence so far, the next tree's root included.
        """
        if self._rotary is not None and self._rotary.outgrown(len(tokens)):
            self.reset()
            self.prefill(tokens[:-1])

    @torch.inference_mode()
    def prefill(self, tokens: Sequence[int], *, all_logits: bool = False) -> Scored:
        """Commit `tokens` behind the prefix, causally.

        Logits come only when `all_logits`: the token after the prompt is decided by the first round, whose
        root is the prompt's last token. Without tokens there is nothing.
        """
        if self._rotary is not None and self.length == 0:
            self._rotary.begin(len(tokens) + 1)
        parts: list[Scored] = []
        for at in range(0, len(tokens), PREFILL_CHUNK):
            chunk = torch.tensor([list(tokens[at : at + PREFILL_CHUNK])], device=self.device)
            positions = torch.arange(self.length, self.length + chunk.shape[1], device=self.device)[None]
            parts.append(self._run(chunk, positions, None, keep=0 if all_logits else 1))
            self.length += chunk.shape[1]
        return Scored(
            torch.cat([p.logits for p in parts if p.logits is not None]) if parts and all_logits else None,
            torch.cat([p.features for p in parts if p.features is not None])
            if parts and self._inputs
            else None,
        )

    @torch.inference_mode()
    def append(self, tokens: IntArray, depth: IntArray, mask: BoolArray) -> Scored:
        """Score uncommitted tokens, which land behind the cache's slots.

        `tokens` and `depth` are ``[n]``, depth 0 being the position right behind the prefix; `mask` is
        ``[n, m]`` over all m uncommitted slots, the n new ones last. Logits are always there.
        """
        ids = torch.from_numpy(np.ascontiguousarray(tokens))[None].to(self.device)
        positions = torch.from_numpy(depth + self.length)[None].to(self.device)
        attend = None if mask.shape == (1, 1) else self._mask(depth, mask)
        return self._run(ids, positions, attend, keep=0)

    @torch.inference_mode()
    def keep(self, slots: Sequence[int]) -> None:
        """Commit the uncommitted `slots` (numbered from 0, ascending) and drop the others."""
        self._cache.keep(self.length, [self.length + s for s in slots])
        self.length += len(slots)

    def rewind(self, length: int) -> None:
        """Drop all behind the first `length` committed tokens."""
        self._cache.keep(length, [])
        self.length = length

    def _run(self, ids: torch.Tensor, positions: torch.Tensor, mask: Any, *, keep: int) -> Scored:
        start = time.perf_counter()
        with self._with_rotary(), self._capturing_inputs() as captured:
            logits: torch.Tensor = self.model(
                input_ids=ids,
                position_ids=positions,
                attention_mask=mask,
                past_key_values=self._cache,
                use_cache=True,
                logits_to_keep=keep,
            ).logits[0]
        features = torch.cat([one[0] for one in captured], dim=-1) if captured else None
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        self.forward_seconds += time.perf_counter() - start
        return Scored(logits.float(), features)

    def _with_rotary(self) -> contextlib.AbstractContextManager[None]:
        return _NOTHING if self._rotary is None else self._rotary.assumed()

    def _capturing_inputs(self) -> contextlib.AbstractContextManager[list[torch.Tensor]]:
        return self._inputs.capturing() if self._inputs else contextlib.nullcontext([])

    def _mask(self, depth: IntArray, mask: BoolArray) -> Any:
        """The 4D mask of an `append`: all of the prefix, and `mask` over the uncommitted slots.

        transformers hands a 4D mask to the layers untouched: sdpa takes booleans, eager attention adds the
        mask (a boolean would silently mask nothing). Models that mix full and sliding
        layers take one mask per kind.
        """
        if self._additive and not (self._layer_types or self._window):
            added = np.zeros((self._groups, len(depth), self.length + mask.shape[1]), np.float32)
            added[:, :, self.length :] = self._added(mask)
            return self._folded(added)
        full = np.concatenate([np.ones((len(depth), self.length), np.bool_), mask], axis=1)
        if not self._layer_types:
            return self._tensor(self._slide(full, depth) if self._window else full)
        kinds = {
            kind: self._tensor(self._slide(full, depth) if kind == "sliding_attention" else full)
            for kind in self._layer_types
        }
        # Only models with several kinds of layer look masks up by kind.
        return kinds if len(kinds) > 1 else next(iter(kinds.values()))

    def _slide(self, full: BoolArray, depth: IntArray) -> BoolArray:
        """Restrict to the last `window` positions; in-tree slots are never that far away."""
        assert self._window is not None
        prefix = np.arange(full.shape[1]) < self.length
        near = np.arange(full.shape[1])[None] > (self.length + depth)[:, None] - self._window
        allowed: BoolArray = full & (near | ~prefix[None])
        return allowed

    def _tensor(self, allowed: BoolArray) -> torch.Tensor:
        if not self._additive:
            return torch.from_numpy(allowed)[None, None].to(self.device)
        return self._folded(np.tile(self._added(allowed), (self._groups, 1, 1)))

    def _added(self, allowed: BoolArray) -> NDArray[np.float32]:
        return np.where(allowed, np.float32(0.0), np.float32(torch.finfo(self._dtype).min))

    def _folded(self, added: NDArray[np.float32]) -> torch.Tensor:
        """``[groups, n, m]`` as one head's rows, as `attention.fold` makes them of the queries."""
        rows = torch.from_numpy(added).view(-1, added.shape[-1])
        return rows[None, None].to(self.device, self._dtype)
