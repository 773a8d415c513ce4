"""What a model thinks on the way: the inputs of some of its decoder layers, caught as a forward runs."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import nn

from spectui.decoding.errors import DecodingError

_STACKS = ("layers", "h", "blocks")
"""Where the decoders of transformers keep their layers."""


def decoder_layers(model: Any) -> nn.ModuleList:
    """The decoder layers of a causal language model. Raises `DecodingError` when there is no such list."""
    decoder = model.get_decoder()
    for name in _STACKS:
        if isinstance(found := getattr(decoder, name, None), nn.ModuleList):
            return found
    raise DecodingError(
        f"model type '{model.config.model_type}' keeps its layers where spectui does not look, so an EAGLE-3 "
        "head cannot read them; use --draft recycling or a draft model"
    )


class LayerInputs:
    """Catches the inputs of `indices` among a model's decoder layers, for as long as `watching` lasts.

    Hooks are set for one forward only: several owners share a model, and none pays for another's.
    Raises `DecodingError` when the model has no such layer.
    """

    def __init__(self, model: Any, indices: Sequence[int]) -> None:
        layers = decoder_layers(model)
        if not all(0 <= i < len(layers) for i in indices):
            raise DecodingError(
                f"the target has {len(layers)} layers, but the draft head reads the inputs of layers "
                f"{', '.join(map(str, indices))}; it was made for another target"
            )
        self._layers = [layers[i] for i in indices]

    @contextlib.contextmanager
    def watching(self) -> Iterator[list[torch.Tensor]]:
        """Inside, one forward fills the list: a tensor ``[1, n, H]`` per layer, in the order of `indices`."""
        caught: list[torch.Tensor] = [torch.empty(0)] * len(self._layers)

        def catcher(at: int) -> Callable[[nn.Module, tuple[Any, ...], dict[str, Any]], None]:
            def catch(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
                caught[at] = args[0] if args else kwargs["hidden_states"]

            return catch

        hooks = [
            layer.register_forward_pre_hook(catcher(at), with_kwargs=True)
            for at, layer in enumerate(self._layers)
        ]
        try:
            yield caught
        finally:
            for hook in hooks:
                hook.remove()
