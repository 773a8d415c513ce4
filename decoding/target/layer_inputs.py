"""Capture of hidden states during a forward, the inputs of decoder layers: the features of a draft head."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import nn

from spectui.decoding.errors import DecodingError

BEFORE_NORM = -1
"""The hidden state behind the last layer and before the final norm, which no number of transformers' names."""

_STACKS = ("layers", "h", "blocks")
"""Attributes in which transformers' decoders keep their layers."""


def decoder_layers(model: Any) -> nn.ModuleList:
    """The decoder layers of a causal language model. Raises `DecodingError` when there is no such list."""
    decoder = model.get_decoder()
    for name in _STACKS:
        if isinstance(layers := getattr(decoder, name, None), nn.ModuleList):
            return layers
    raise DecodingError(
        f"model type '{model.config.model_type}' keeps its layers in a place unknown to spectui, so a draft "
        "head cannot read them; use --draft recycling or a draft model"
    )


class LayerInputs:
    """Captures hidden states of a model inside `capturing`: i of `indices` is transformers' ``hidden_states[i]``.

    That is the input of layer i, and for the number of layers what the final norm returns.
    Hooks are set for one forward only: several owners share a model, and none pays for the hooks of another.
    Raises `DecodingError` when the model has no such layer.
    """

    def __init__(self, model: Any, indices: Sequence[int]) -> None:
        layers = decoder_layers(model)
        if not all(i == BEFORE_NORM or 0 <= i <= len(layers) for i in indices):
            raise DecodingError(
                f"the target has {len(layers)} layers, but the draft head reads the inputs of layers "
                f"{', '.join(map(str, indices))}; it was made for another target"
            )
        self._indices = indices
        self._layers, self._decoder = layers, model.get_decoder()

    @contextlib.contextmanager
    def capturing(self) -> Iterator[list[torch.Tensor]]:
        """Inside, one forward fills the list: a tensor ``[1, n, H]`` per layer, in the order of `indices`."""
        captured: list[torch.Tensor] = [torch.empty(0)] * len(self._indices)

        def hook_for(i: int) -> Callable[[nn.Module, tuple[Any, ...], dict[str, Any]], None]:
            def capture(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
                captured[i] = args[0] if args else kwargs["hidden_states"]

            return capture

        def output_hook_for(i: int) -> Callable[[nn.Module, Any, Any], None]:
            def capture(_: nn.Module, __: Any, output: Any) -> None:
                captured[i] = output if isinstance(output, torch.Tensor) else output[0]

            return capture

        hooks = []
        for place, index in enumerate(self._indices):
            if index == BEFORE_NORM:
                hooks.append(self._layers[-1].register_forward_hook(output_hook_for(place)))
            elif index == len(self._layers):
                hooks.append(self._decoder.register_forward_hook(output_hook_for(place)))
            else:
                hooks.append(self._layers[index].register_forward_pre_hook(hook_for(place), with_kwargs=True))
        try:
            yield captured
        finally:
            for hook in hooks:
                hook.remove()
