"""A rehearsal of generation and training on a few tokens, before hours of text are generated."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from spectui.decoding.distill.config import DistillConfig
from spectui.decoding.distill.initial import begin, feature_layers, new_head
from spectui.decoding.distill.shards import Sequence
from spectui.decoding.distill.slots import SlotModel
from spectui.decoding.distill.train import try_step
from spectui.decoding.eagle.head import EagleHead
from spectui.decoding.errors import DecodingError

TOKENS = 24
SAME = 0.1
"""Of the final states' size: what the slots' own attention may differ by, in half precision too."""

_FAILURES = (RuntimeError, AttributeError, TypeError, ValueError, KeyError, IndexError)


def rehearse(
    config: DistillConfig, model: Any, earlier: EagleHead | None = None, mask: int | None = None
) -> None:
    """Make text of a few tokens as generation does, and train a head on it for one step, a P-EAGLE one with `mask`.

    Raises `DecodingError` in one line for targets that no head can be trained for, or not from `earlier`.
    """
    text = model.config.get_text_config(decoder=True)
    try:
        sequence = _sequence(model, int(text.vocab_size))
        kept = [] if earlier is None else earlier.draft_ids.tolist()
        tokens = sorted({*sequence.best.tolist(), *kept})
        model.requires_grad_(False)
        head = new_head(model, tokens, layers=config.layers, mask=mask).to(model.device)
        begin(head, model, earlier, [sequence], config.seed)
        try_step(head, config, model, sequence)
    except torch.OutOfMemoryError:
        raise
    except _FAILURES as error:
        reason = f"{type(error).__name__}: {' '.join(str(error).split())[:160]}"
        raise DecodingError(
            f"no head can be trained for a target of type '{text.model_type}' ({reason})"
        ) from error


def _sequence(model: Any, vocab: int) -> Sequence:
    """A sequence with the target's choices and hidden states, through slots.

    Raises `ValueError` where plain forwards give other states.
    """
    ids = np.random.default_rng(0).integers(0, vocab, TOKENS)
    slots = SlotModel(model, feature_layers(model), 2, TOKENS)
    best, features, final = [], [], []
    try:
        for at, token in enumerate(ids.tolist()):
            best.append(int(slots.step([token, token], [at, at])[0, 0]))
            features.append(slots.features[0].clone())
            final.append(slots.final[0].clone())
    finally:
        slots.close()
    plain_states: list[torch.Tensor] = []
    hook = model.get_output_embeddings().register_forward_pre_hook(
        lambda _, inputs: plain_states.append(inputs[0][0])
    )
    try:
        with torch.inference_mode():
            model(input_ids=torch.from_numpy(ids)[None].to(model.device), use_cache=False)
    finally:
        hook.remove()
    ours, plain = torch.stack(final).float(), plain_states[0].float()
    if not bool(ours.isfinite().all()):
        raise ValueError(
            "its hidden states are not finite numbers; its weights are damaged, or --dtype is too narrow"
        )
    # Experts may be chosen by rounding, so that single rows may differ.
    apart = (ours - plain).abs().mean(-1) / plain.abs().mean().clamp_min(1e-6)
    if float(apart.median()) > SAME:
        raise ValueError("its attention does not let many sequences be generated side by side")
    return Sequence(0, 0, 4, ids, np.asarray(best), torch.stack(features).cpu(), torch.stack(final).cpu())
