"""The weights that training starts from: made from the target's, or taken from an earlier head."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import torch

from spectui.decoding.distill.shards import Sequence
from spectui.decoding.eagle.head import EagleHead, HeadConfig, default_feature_layers, set_draft_vocabulary
from spectui.decoding.errors import DecodingError

RIDGE = 0.02
"""Weight of the ridge penalty, per row and unit of variance."""

SMALL = 1e-4
"""A norm's scale below which nothing of a number is left to divide by it."""

EMBEDDING_STD = 0.02
"""Of the attention weights that read tokens: small, so that training begins at what the features say."""


def feature_layers(model: Any) -> tuple[int, ...]:
    """Layers of `model` whose inputs a head reads. Raises `DecodingError` when there are too few."""
    count = int(model.config.get_text_config().num_hidden_layers)
    if count < 4:
        raise DecodingError(f"the target has {count} layers; a head reads three levels and needs at least 4")
    return default_feature_layers(count)


def new_head(model: Any, tokens: list[int], *, layers: int = 1, mask: int | None = None) -> EagleHead:
    """An untrained head of `layers` layers for `model` (any Llama-like target) that drafts `tokens`, in float32.

    With a `mask` token it is a P-EAGLE head. Raises `DecodingError` for targets without a Llama's layers.
    """
    config = model.config.get_text_config()
    layer = model.get_decoder().layers[-1]
    for part in ("self_attn.q_proj", "self_attn.o_proj", "mlp.gate_proj", "mlp.down_proj", "input_layernorm"):
        try:
            layer.get_submodule(part)
        except AttributeError as error:
            raise DecodingError(
                f"a '{config.model_type}' layer has no {part}; heads are distilled for Llama-like targets"
            ) from error
    rope = dict(getattr(config, "rope_parameters", None) or {})
    width = int(config.hidden_size)
    head = EagleHead(
        HeadConfig(
            hidden_size=width,
            intermediate_size=int(config.intermediate_size),
            num_attention_heads=int(config.num_attention_heads),
            num_key_value_heads=int(config.num_key_value_heads),
            head_dim=int(getattr(config, "head_dim", None) or width // config.num_attention_heads),
            vocab_size=int(config.vocab_size),
            draft_vocab_size=len(tokens),
            target_hidden_size=width,
            feature_layers=feature_layers(model),
            rms_norm_eps=float(config.rms_norm_eps),
            rope_theta=float(rope.pop("rope_theta", 10_000.0)),
            rope_scaling={} if rope.get("rope_type", "default") == "default" else rope,
            max_position_embeddings=int(config.max_position_embeddings),
            num_hidden_layers=layers,
            mask_token=mask,
        ),
        model.get_input_embeddings(),
    )
    set_draft_vocabulary(head, tokens)
    return head.float()


def begin(
    head: EagleHead, model: Any, earlier: EagleHead | None, sample: Iterable[Sequence], seed: int
) -> float | None:
    """Give `head` the weights that training starts from: those of `earlier`, or what `initialise` makes of `sample`.

    A P-EAGLE head that goes on from another kind has masked pairs of the mean feature of the responses in `sample`.
    Returns what `initialise` does where it was asked.
    """
    masks = head.mask_hidden is not None and (earlier is None or earlier.mask_hidden is None)
    known = list(sample) if earlier is None or masks else []
    explained = None
    if earlier is None:
        explained = initialise(head, model, known, seed)
    else:
        take_over(head, earlier, model)
    if head.mask_hidden is not None and masks:
        features = torch.cat([s.features[s.answer_from :].flatten(1) for s in known])
        with torch.no_grad():
            head.mask_hidden.copy_(features.float().mean(0))
    return explained


@torch.no_grad()
def initialise(head: EagleHead, model: Any, sample: list[Sequence], seed: int) -> float:
    """Start `head` from the target's last layer, its LM head, and a linear guess of the next hidden state.

    `fc` is the ridge regression from the features of a position to the next position's final hidden
    state (before the norm's weight); the attention and MLP are the last layer's, scaled from the residual
    stream's size to the guess's; what reads the token's embedding is small noise. Returns the share of
    the final states' variance that the regression explains.
    """
    generator = torch.Generator(device="cpu").manual_seed(seed)
    norm = model.get_decoder().norm
    scale = norm_scale(norm, head.config.hidden_size)
    head.norm.weight.copy_(scale)
    head.lm_head.weight.copy_(model.get_output_embeddings().weight[head.draft_ids])

    features = torch.cat([s.features[:-2].flatten(1) for s in sample]).float()
    divisor = torch.where(scale.abs() < SMALL, torch.ones_like(scale), scale).cpu()
    states = torch.cat([s.final[1:-1] for s in sample]).float() / divisor
    solution = _ridge(features, states)
    explained = 1.0 - (states - features @ solution).pow(2).sum() / (states - states.mean(0)).pow(2).sum()
    head.fc.weight.copy_(solution.T)

    layer, ours, width = model.get_decoder().layers[-1], head.layers[0], head.config.hidden_size
    for name in ("q_proj", "k_proj", "v_proj"):
        weight = getattr(ours, name).weight
        noise = torch.empty(weight.shape[0], width).normal_(std=EMBEDDING_STD, generator=generator)
        weight[:, :width] = noise.to(weight.device)
        weight[:, width:] = getattr(layer.self_attn, name).weight
    shrink = 1.0 / _residual_size(model, sample[0])
    ours.o_proj.weight.copy_(layer.self_attn.o_proj.weight * shrink)
    ours.gate_proj.weight.copy_(layer.mlp.gate_proj.weight)
    ours.up_proj.weight.copy_(layer.mlp.up_proj.weight)
    ours.down_proj.weight.copy_(layer.mlp.down_proj.weight * shrink)
    ours.hidden_norm.weight.copy_(norm_scale(layer.input_layernorm, width))
    ours.post_attention_layernorm.weight.copy_(norm_scale(_before_mlp(layer), width))
    _add_layers(head, model, 1)
    return float(explained)


def _ridge(inputs: torch.Tensor, outputs: torch.Tensor) -> torch.Tensor:
    """The matrix ``[a, b]`` that takes `inputs` ``[n, a]`` nearest to `outputs` ``[n, b]``, by ridge regression."""
    size = inputs.pow(2).mean(0).sqrt().clamp_min(1e-6)
    scaled = inputs / size
    gram = scaled.T @ scaled
    gram.diagonal().add_(RIDGE * len(scaled))
    matrix: torch.Tensor = torch.linalg.solve(gram, scaled.T @ outputs) / size[:, None]
    return matrix


@torch.no_grad()
def _add_layers(head: EagleHead, model: Any, begun: int) -> None:
    """Make the layers of `head` beyond the first `begun` of the target's last ones, without effect as yet."""
    count, width = len(head.layers), head.config.hidden_size
    for index in range(begun, count):
        ours, original = head.layers[index], model.get_decoder().layers[index - count]
        for name in ("q_proj", "k_proj", "v_proj"):
            getattr(ours, name).weight.copy_(getattr(original.self_attn, name).weight)
        for name in ("gate_proj", "up_proj"):
            getattr(ours, name).weight.copy_(getattr(original.mlp, name).weight)
        for name in ("o_proj", "down_proj"):
            getattr(ours, name).weight.zero_()
        ours.input_layernorm.weight.copy_(norm_scale(original.input_layernorm, width))
        ours.post_attention_layernorm.weight.copy_(norm_scale(_before_mlp(original), width))


@torch.no_grad()
def norm_scale(norm: Any, width: int) -> torch.Tensor:
    """Factors that a norm applies to each of `width` numbers, float32: its weight, or in Gemma's norms one more."""
    weight = next(norm.parameters(), None)
    like: dict[str, Any] = {} if weight is None else {"device": weight.device, "dtype": weight.dtype}
    ones = torch.ones(width, **like)
    ones[1::2] = -1.0  # of mean zero, so that norms which subtract it change nothing
    out: torch.Tensor = norm(ones[None, None])[0, 0].float() * ones.float()
    return out


def _before_mlp(layer: Any) -> Any:
    """The norm that the feed-forward block reads through; Gemma 2 has one of that name behind attention too."""
    return getattr(layer, "pre_feedforward_layernorm", None) or layer.post_attention_layernorm


@torch.no_grad()
def take_over(head: EagleHead, earlier: EagleHead, model: Any) -> None:
    """Give `head` the weights of `earlier`, a head of the same target.

    Rows of tokens that `earlier` does not draft start as the target's, moved as the linear map says that is nearest
    to how training has moved the others; layers that it lacks start without effect. Raises `DecodingError` when the
    two have other sizes or options.
    """
    free = ("draft_vocab_size", "num_hidden_layers", *(["mask_token"] if earlier.mask_hidden is None else []))
    if replace(earlier.config, **{name: getattr(head.config, name) for name in free}) != head.config:
        raise DecodingError(
            "the head of --start has other sizes or options than this target's heads; leave --start out"
        )
    if (layers := len(earlier.layers)) > len(head.layers):
        raise DecodingError(f"the head of --start has {layers} layers; give --layers {layers} or more")
    known = {int(token): row for row, token in enumerate(earlier.draft_ids.tolist())}
    rows = [known.get(int(token), -1) for token in head.draft_ids.tolist()]
    weights = dict(earlier.named_parameters())
    for name, weight in head.named_parameters():
        if name in weights and name != "lm_head.weight":
            weight.copy_(weights[name])
    _add_layers(head, model, layers)
    output = model.get_output_embeddings().weight[head.draft_ids].float()
    kept = torch.tensor([row >= 0 for row in rows], device=output.device)
    trained = earlier.lm_head.weight[[row for row in rows if row >= 0]].float()
    middle, moved = output[kept].mean(0), trained - output[kept]
    turn = _ridge(output[kept] - middle, moved - moved.mean(0))
    output[~kept] += moved.mean(0) + (output[~kept] - middle) @ turn
    output[kept] = trained
    head.lm_head.weight.copy_(output)


def _residual_size(model: Any, sequence: Sequence) -> float:
    """Root mean square of the input of the target's last norm."""
    sizes: list[torch.Tensor] = []
    handle = model.get_decoder().norm.register_forward_pre_hook(
        lambda _, inputs: sizes.append(inputs[0].float().pow(2).mean(-1).sqrt().median())
    )
    try:
        with torch.inference_mode():
            model(input_ids=torch.from_numpy(sequence.tokens)[None].to(model.device))
    finally:
        handle.remove()
    return float(sizes[0])
