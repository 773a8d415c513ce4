"""Batched generation of training text: many sequences through one model at once, each in a slot of its own.

Slots start and end at different times (continuous batching): a prompt's tokens go through the same
steps as generated ones, one per slot and step, so no step waits for another.
"""

from __future__ import annotations

from typing import Any

import torch
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.cache_utils import Cache, CacheLayerMixin
from transformers.masking_utils import sdpa_mask

from spectui.decoding.target.attention import grouped_sdpa
from spectui.decoding.target.distributions import top_tokens

CANDIDATES = 64
"""Tokens per slot that are scored exactly and can be drawn."""

GROUP = 32
"""Slots that attend over the same number of columns."""

SORT_EVERY = 32
"""Steps between sortings of the slots by length: a copy of the cache that costs about one step."""


class _Where:
    """The position that a step writes to and the columns that each slot reads, shared by all layers."""

    def __init__(self, slots: int, device: torch.device) -> None:
        self.slot = torch.arange(slots, device=device)
        self.position = torch.zeros(slots, dtype=torch.long, device=device)
        self.groups: list[tuple[slice, int, torch.Tensor]] = []
        """Neighbouring slots, the columns they need, and their mask ``[slots, 1, 1, columns]``."""

    def set(self, position: torch.Tensor) -> None:
        self.position = position
        self.groups = []
        for start in range(0, len(position), GROUP):
            part = slice(start, min(start + GROUP, len(position)))
            reach = int(position[part].max()) + 1
            mask = torch.arange(reach, device=position.device)[None] <= position[part, None]
            self.groups.append((part, reach, mask[:, None, None]))


class _SlotLayer(CacheLayerMixin):  # type: ignore[misc]
    """Keys and values ``[slots, heads, capacity, head_dim]``; a step writes one column per slot."""

    is_sliding = False

    def __init__(self, where: _Where, capacity: int) -> None:
        super().__init__()
        self._where, self._capacity = where, capacity

    def lazy_initialization(self, key_states: torch.Tensor, value_states: torch.Tensor) -> None:
        slots, heads, _, width = key_states.shape
        self.dtype, self.device = key_states.dtype, key_states.device
        self.keys = key_states.new_zeros(slots, heads, self._capacity, width)
        self.values = value_states.new_zeros(slots, heads, self._capacity, value_states.shape[-1])
        self.is_initialized = True

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *_: object, **__: object
    ) -> tuple[torch.Tensor, torch.Tensor]:
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        at = self._where
        self.keys[at.slot, :, at.position] = key_states[:, :, 0]
        self.values[at.slot, :, at.position] = value_states[:, :, 0]
        return self.keys, self.values

    def permute(self, order: torch.Tensor, columns: int) -> None:
        self.keys[:, :, :columns] = self.keys[order, :, :columns]
        self.values[:, :, :columns] = self.values[order, :, :columns]

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return self._capacity, 0

    def get_seq_length(self) -> int:
        return self._capacity - 1

    def get_max_length(self) -> int:
        return self._capacity

    def reset(self) -> None:
        """Columns are written before they are read; nothing to clear."""


def _attention(where: _Where) -> Any:
    """Attention group by group, so that a slot pays for its group's length and not for the longest of all."""

    def attend(
        module: torch.nn.Module,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        attention_mask: torch.Tensor | None,
        scaling: float | None = None,
        softcap: float | None = None,
        sliding_window: int | None = None,
        **_: Any,
    ) -> tuple[torch.Tensor, None]:
        parts = []
        for part, reach, mask in where.groups:
            if sliding_window is not None and reach > sliding_window:
                columns = torch.arange(reach, device=mask.device)
                mask = mask & (columns > where.position[part, None] - sliding_window)[:, None, None]
            inputs = query[part], key[part, :, :reach], value[part, :, :reach], mask
            if softcap is not None:
                parts.append(_capped(*inputs, scaling or query.shape[-1] ** -0.5, softcap))
            else:
                parts.append(grouped_sdpa(module, *inputs, scaling=scaling)[0])
        out = torch.cat(parts)
        return out, None

    return attend


def _capped(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    mask: torch.Tensor,
    scaling: float,
    cap: float,
) -> torch.Tensor:
    """Attention whose scores are kept below `cap` (Gemma 2): ``[slots, 1, heads, d]``."""
    groups = query.shape[1] // key.shape[1]
    key, value = key.repeat_interleave(groups, dim=1), value.repeat_interleave(groups, dim=1)
    scores = cap * torch.tanh((query @ key.transpose(-1, -2)).float() * scaling / cap)
    weights = scores.masked_fill(~mask, -torch.inf).softmax(-1).to(value.dtype)
    return (weights @ value).transpose(1, 2)


class SlotModel:
    """`model` fed one token per slot and step; records features and hidden states for training.

    After `step`, `features` is ``[slots, F, H]`` (inputs of `feature_layers`) and `final` ``[slots, H]``,
    the normalised hidden state that the LM head reads.
    """

    def __init__(self, model: Any, feature_layers: tuple[int, ...], slots: int, capacity: int) -> None:
        self.model, self.slots, self.capacity = model, slots, capacity
        self._where = _Where(slots, model.device)
        name = f"spectui_slots_{id(self._where)}"
        self._attention_before = model.config.get_text_config()._attn_implementation
        AttentionInterface.register(name, _attention(self._where))
        AttentionMaskInterface.register(name, sdpa_mask)
        model.set_attn_implementation(name)
        layers = model.config.get_text_config().num_hidden_layers
        self._cache = Cache(layers=[_SlotLayer(self._where, capacity) for _ in range(layers)])
        self._captured: dict[int, torch.Tensor] = {}
        self._layers = feature_layers
        head = model.get_output_embeddings()
        hooked = [(i, model.get_decoder().layers[i]) for i in feature_layers] + [(-1, head)]
        self._hooks = [
            module.register_forward_pre_hook(self._capture(index), with_kwargs=True)
            for index, module in hooked
        ]
        self._rows = head.weight.detach()
        self._row_of = torch.arange(slots, device=model.device)
        """Row of the cache that each slot is in; it changes when slots are sorted by length."""
        self._steps = 0

    def close(self) -> None:
        """Leave the model as it was."""
        for hook in self._hooks:
            hook.remove()
        self.model.set_attn_implementation(self._attention_before)

    def _capture(self, index: int) -> Any:
        def hook(_: Any, inputs: tuple[Any, ...], named: dict[str, Any]) -> None:
            self._captured[index] = inputs[0] if inputs else named["hidden_states"]

        return hook

    @torch.inference_mode()
    def step(self, tokens: list[int], positions: list[int]) -> torch.Tensor:
        """Feed `tokens[s]` at `positions[s]` of slot s; returns the `CANDIDATES` best next tokens' ids,
        best first, ``[slots, CANDIDATES]``; `scores` has their float32 logits.
        """
        device = self._where.slot.device
        position, ids = torch.tensor(positions, device=device), torch.tensor(tokens, device=device)
        if self._steps % SORT_EVERY == 0:
            self._sort(position)
        self._steps += 1
        slot_of = self._row_of.argsort()
        position, ids = position[slot_of], ids[slot_of]
        self._where.set(position)
        logits = self.model(
            input_ids=ids[:, None],
            position_ids=position[:, None],
            attention_mask=self._where.groups[0][2],  # unused; groups have their own
            past_key_values=self._cache,
            use_cache=True,
        ).logits[self._row_of, -1]
        self.features = torch.stack([self._captured[i][:, -1] for i in self._layers], dim=1)[self._row_of]
        self.final = self._captured[-1][self._row_of, -1]
        best = top_tokens(logits, min(CANDIDATES, logits.shape[-1]))
        # Logits of a half-precision head have ties at every turn; the few best are scored again exactly.
        exact = torch.einsum("sh,skh->sk", self.final.float(), self._rows[best].float())
        order = exact.argsort(dim=-1, descending=True)
        self.scores = exact.gather(1, order)
        return best.gather(1, order)

    def _sort(self, positions: torch.Tensor) -> None:
        """Put slots of like length side by side."""
        order = positions.argsort()
        if self._steps:
            rows, columns = self._row_of[order], int(positions.max()) + 1
            for layer in self._cache.layers:
                layer.permute(rows, columns)
        self._row_of = order.argsort()

    def draw(
        self, candidates: torch.Tensor, temperature: list[float], generator: torch.Generator
    ) -> torch.Tensor:
        """One of each slot's candidates ``[slots]``: the best at temperature 0, else drawn (Gumbel's trick)."""
        heat = torch.tensor(temperature, device=self.scores.device)[:, None]
        noise = -torch.empty_like(self.scores).exponential_(generator=generator).log()
        chosen = (self.scores / heat.clamp_min(1e-6) + noise).argmax(-1)
        chosen = torch.where(heat[:, 0] > 0.0, chosen, 0)
        return candidates.gather(1, chosen[:, None])[:, 0]
