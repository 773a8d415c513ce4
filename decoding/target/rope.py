"""Rotary embeddings whose frequencies depend on the length of a sequence: ``dynamic`` and ``longrope``.

`generate` feeds a prompt at once and then a token at a time, so that each token turns with the frequencies of the
length at which it was fed, and those of a prompt with the prompt's. A tree's rows and a prompt's chunks are fed
together and have lengths of their own: `PerRowRotary` gives each row the frequencies of its own length.

Phi-3 and its kin also compute their cache anew, all of it with the long frequencies, once a sequence outgrows the
context they were first trained with; see `SequenceRotary.outgrown`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

_DEPENDING = ("dynamic", "longrope")


class PerRowRotary(nn.Module):
    """Replaces a rotary embedding; computes the same unless a length is assumed."""

    def __init__(self, inner: Any, kind: str, original: int) -> None:
        super().__init__()
        self.inner = inner
        self.kind, self.original = kind, original
        self.assumed: torch.Tensor | None = None
        """int64 ``[]``: least length that a row is taken to have; None for the inner embedding's own behaviour."""
        self.interleaved = False
        """True when the two dimensions of a frequency lie side by side rather than half the width apart."""
        one = inner.inv_freq.new_zeros(1, 1, 1)

        def at(position: int) -> tuple[torch.Tensor, torch.Tensor]:
            """Frequencies ``[d / 2]`` and scale ``[]`` of a sequence that ends at `position`."""
            cos, sin = (
                part[0, 0].float() for part in inner(one, torch.tensor([[1, position]], device=one.device))
            )
            angle = torch.atan2(sin, cos)
            # Not every family uses its buffer, and an angle is less exact than a buffer: the nearest buffer counts.
            buffers = [
                inner.inv_freq.detach().clone().float(),
                inner.original_inv_freq.detach().clone().float(),
            ]
            turned = (angle[: len(buffers[0])], angle[::2])
            near = [
                (float((buffer - one).abs().max()), i) for i, buffer in enumerate(buffers) for one in turned
            ]
            return buffers[min(near)[1]], torch.hypot(cos, sin)[0]

        self.long, self.long_scale = at(original)
        self.short, self.short_scale = at(1)  # last, so that the inner one is back in its first state
        if kind == "dynamic":
            rope = inner.config.rope_parameters
            self.base, self.factor = float(rope["rope_theta"]), float(rope["factor"])

    def forward(self, x: torch.Tensor, position_ids: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Cosine and sine ``[1, n, d]``, as the inner embedding returns them."""
        if self.assumed is None:
            cos, sin = self.inner(x, position_ids)
            return cos, sin
        length = torch.maximum(position_ids + 1, self.assumed)[..., None]
        frequency, scale = self._dynamic(length) if self.kind == "dynamic" else self._longrope(length)
        angle = position_ids[..., None].float() * frequency
        angle = angle.repeat_interleave(2, -1) if self.interleaved else torch.cat([angle, angle], -1)
        return (angle.cos() * scale).to(x.dtype), (angle.sin() * scale).to(x.dtype)

    def _longrope(self, length: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        beyond = length > self.original
        return torch.where(beyond, self.long, self.short), torch.where(
            beyond, self.long_scale, self.short_scale
        )

    def _dynamic(self, length: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        width = 2 * self.short.shape[0]
        grown = self.factor * length.clamp(min=self.original).double() / self.original - (self.factor - 1)
        base = self.base * grown ** (width / (width - 2))
        exponent = torch.arange(0, width, 2, device=length.device).float() / width
        return 1.0 / (base.float() ** exponent), self.short_scale

    @torch.inference_mode()
    def is_faithful(self) -> bool:
        """Find the layout that gives the inner embedding's rows on both sides of the boundary; False when none does."""
        for self.interleaved in (False, True):
            try:
                if all(self._agrees(at) for at in (1, self.original - 1, self.original, self.original + 7)):
                    return True
            except (RuntimeError, TypeError, ValueError):
                continue
            finally:
                self.assumed = None
                self.inner(self.short.new_zeros(1, 1, 1), self.short.new_zeros(1, 1, dtype=torch.int64))
        return False

    def _agrees(self, position: int) -> bool:
        x, ids = self.short.new_zeros(1, 1, 1), torch.tensor([[position]], device=self.short.device)
        self.assumed = torch.zeros((), dtype=torch.int64, device=x.device)
        per_row = self(x, ids)
        self.assumed = None
        pairs = zip(per_row, self(x, ids), strict=True)
        return all(a.shape == b.shape and torch.allclose(a, b, atol=1e-3) for a, b in pairs)


class SequenceRotary:
    """Rotary state of one sequence: the length that its forwards assume."""

    def __init__(self, rotaries: list[PerRowRotary], device: torch.device, *, renews: bool) -> None:
        self._rotaries = rotaries
        self.original = min(rotary.original for rotary in rotaries)
        """Positions up to which frequencies are those of a short sequence."""
        self.renews = renews
        """True when the model computes its cache anew once a sequence is longer than `original`."""
        self._assumed = torch.zeros((), dtype=torch.int64, device=device)
        self._begun = 0

    def begin(self, length: int) -> None:
        """A sequence begins with a prompt of `length` tokens; 0 forgets it."""
        self._begun = length
        self._assumed.fill_(length)

    def outgrown(self, length: int) -> bool:
        """True when the cache of a sequence of `length` tokens has to be computed anew."""
        return self.renews and self._begun <= self.original < length

    def deepest(self, length: int) -> int | None:
        """Greatest depth of a tree behind `length` tokens whose nodes all use the same cache; None for any."""
        return max(self.original - length, 0) if self.renews and self._begun <= self.original else None

    @contextlib.contextmanager
    def assumed(self) -> Iterator[None]:
        """Inside, forwards of the model assume the length of this sequence."""
        for rotary in self._rotaries:
            rotary.assumed = self._assumed
        try:
            yield
        finally:
            for rotary in self._rotaries:
                rotary.assumed = None


def depends_on_length(config: Any) -> bool:
    """True when the rotary frequencies of a text model depend on the length of a sequence."""
    return bool(_depending(config))


def original_context(config: Any) -> int:
    """Positions up to which the frequencies of such a model do not change."""
    context = int(config.max_position_embeddings)
    named = [
        rope.get("original_max_position_embeddings")
        for rope in _depending(config)
        if rope["rope_type"] == "longrope"
    ]
    return min([context, *(int(length) for length in named if length)])


def _depending(config: Any) -> list[dict[str, Any]]:
    """Parameters of rotary embeddings, one or one for each kind of layer, whose frequencies depend on length."""
    rope = getattr(config, "rope_parameters", None) or {}
    every = [rope, *rope.values()]
    return [one for one in every if isinstance(one, dict) and one.get("rope_type") in _DEPENDING]


def sequence_rotary(model: Any, config: Any) -> SequenceRotary | None:
    """The rotary state of a new sequence in a model whose frequencies depend on length.

    Replaces the model's rotary embeddings, once. None for other models, and for embeddings that `PerRowRotary`
    cannot reproduce.
    """
    if not depends_on_length(config):
        return None
    rotaries = [module for module in model.modules() if isinstance(module, PerRowRotary)]
    if not rotaries:
        places = [
            (parent, name, child)
            for parent in model.modules()
            for name, child in parent.named_children()
            if getattr(child, "rope_type", None) in _DEPENDING and hasattr(child, "inv_freq")
        ]
        try:
            made = [PerRowRotary(child, child.rope_type, original_context(config)) for _, _, child in places]
        except (RuntimeError, TypeError, ValueError, KeyError, IndexError, AttributeError):
            return None
        if not made or not all(rotary.is_faithful() for rotary in made):
            return None
        for (parent, name, _), rotary in zip(places, made, strict=True):
            setattr(parent, name, rotary)
        rotaries = made
    return SequenceRotary(rotaries, model.device, renews=_renews(model))


def _renews(model: Any) -> bool:
    """True when `generate` computes the cache anew at the boundary, as families do that prepare their own inputs."""
    from transformers import GenerationMixin

    prepares = type(model).prepare_inputs_for_generation is not GenerationMixin.prepare_inputs_for_generation
    return prepares and hasattr(model.config, "original_max_position_embeddings")
