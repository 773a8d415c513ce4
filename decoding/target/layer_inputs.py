"""Capture of the inputs of some decoder layers during a forward: the features of an EAGLE-3 head."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import nn

from spectui.decoding.errors import DecodingError

_STACKS = ("layers", "h", "blocks")
"""Attributes in which transformers' decoders keep their layers."""


def decoder_layers(model: Any) -> nn.ModuleList:
    """The decoder layers of a causal language model. Raises `DecodingError` when there is no such list."""
    decoder = model.get_decoder()
    for name in _STACKS:
        if isinstance(layers := getattr(decoder, name, None), nn.ModuleList):
            return layers
    raise DecodingError(
        f"model type '{model.config.model_type}' keeps its layers in a place unknown to spectui, so an EAGLE-3 "
        "head cannot read them; use --draft recycling or a draft model"
    )


class LayerInputs:
    """Captures the inputs of the layers `indices` of a model inside `capturing`.

    Hooks are set for one forward only: several owners share a model, and none pays for the hooks of another.
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
    def capturing(self) -> Iterator[list[torch.Tensor]]:
        """Inside, one forward fills the list: a tensor ``[1, n, H]`` per layer, in the order of `indices`."""
        captured: list[torch.Tensor] = [torch.empty(0)] * len(self._layers)

        def hook_for(i: int) -> Callable[[nn.Module, tuple[Any, ...], dict[str, Any]], None]:
            def capture(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
                captured[i] = args[0] if args else kwargs["hidden_states"]

            return capture

        hooks = [
            layer.register_forward_pre_hook(hook_for(i), with_kwargs=True)
            for i, layer in enumerate(self._layers)
        ]
        try:
            yield captured
        finally:
            for hook in hooks:
                hook.remove()
