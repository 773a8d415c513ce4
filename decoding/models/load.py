"""Loads targets and drafts, and checks that they fit each other."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from spectui.decoding.checkpoints.hub import Progress as Progress
from spectui.decoding.checkpoints.locate import locate, locate_draft
from spectui.decoding.config import RunConfig
from spectui.decoding.device.switch import uses_fixed_sizes
from spectui.decoding.drafters.kind import DrafterKind, imported
from spectui.decoding.drafters.registry import kind_in
from spectui.decoding.models.loading import load_model, load_tokenizer
from spectui.decoding.models.needs import needs_of
from spectui.decoding.models.placement import Placement, place, resolve_device
from spectui.decoding.models.probe import Probe
from spectui.decoding.target.attention import use_grouped_attention
from spectui.decoding.target.lean import use_lean_layers
from spectui.decoding.target.norms import fuse_norms
from spectui.decoding.target.packed import pack_linears
from spectui.decoding.target.rope import depends_on_length, original_context, sequence_rotary
from spectui.decoding.target.sizes import context_of, embedding_rows, text_config
from spectui.decoding.tokens.vocabulary import Vocabulary, check_same_vocabulary
from spectui.decoding.trees.limits import MAX_DEPTH

if TYPE_CHECKING:
    from spectui.decoding.drafters.base import Drafter


@dataclass(frozen=True)
class LoadedModels:
    """Models on their device, ready for inference."""

    target: Any
    draft: Any | None
    """The drafter's weights, a model or a head; None for drafters without weights."""
    tokenizer: Vocabulary
    kind: DrafterKind | None = None
    """The kind of `draft`; None where the configuration names it."""
    draft_folder: Path | None = None
    """Folder of the draft, where its acceptance profile may lie."""
    notes: tuple[str, ...] = ()
    """Limits of this pair that the user should know, a phrase each."""

    def drafter_kind(self, config: RunConfig) -> DrafterKind:
        """The kind of drafter that `config` runs with on these models."""
        return self.kind or config.kind

    @property
    def deepest(self) -> int:
        """Depth of the deepest tree that the draft can fill: what a block holds, for a head that drafts in blocks."""
        drafted = getattr(getattr(self.draft, "config", None), "drafted", MAX_DEPTH)
        return min(int(drafted), MAX_DEPTH)

    def draft_model(self, config: RunConfig) -> Any | None:
        """The draft where it is a causal language model, which transformers can draft with too."""
        weights = self.drafter_kind(config).weights
        return self.draft if weights is not None and weights.whole_model else None


def load_models(config: RunConfig, progress: Progress | None = None, *, tuned: bool = True) -> LoadedModels:
    """Load the models of `config`, tuned for tree verification unless `tuned` is false.

    Tuned models compute the same products faster: attention without copies of the cache, norms as one
    operator, and on a CPU linear layers with weights packed once.

    Raises `DecodingError` in one line when something is missing or unfit.
    """
    tell = progress or (lambda *_: None)
    resolve_device(config.device)
    placement = place(config.device, needs_of(config, tell))
    if placement.device.type == "cuda":
        torch.cuda.set_device(placement.device)  # libraries, streams and graphs follow the current one
    folder = locate(config.target, tell, allow_pickle=config.allow_pickle)
    target = load_model(
        folder, placement, config.dtype, "loading target", tell, allow_pickle=config.allow_pickle
    )
    probe = Probe(target)
    alone = LoadedModels(target, None, load_tokenizer(folder, target))
    loaded = with_draft(config, alone, tell, tuned=False)
    if tuned:
        tell("choosing kernels", None, None, "")
        tune(loaded)
    probe.check()
    return replace(loaded, notes=(*_rope_notes(config, target), *loaded.notes))


def with_draft(
    config: RunConfig, models: LoadedModels, progress: Progress | None = None, *, tuned: bool = True
) -> LoadedModels:
    """The target of `models`, which is that of `config`, with the draft that `config` names.

    Loads no target, so that several drafts can share one. Raises `DecodingError` as `load_models` does.
    """
    tell = progress or (lambda *_: None)
    if not config.speculate or config.kind.weights is None:
        return replace(models, draft=None, kind=None, draft_folder=None)
    target = models.target
    beside = locate(config.target, tell, allow_pickle=config.allow_pickle)
    folder = locate_draft(config.base_draft, beside, tell, allow_pickle=config.allow_pickle)
    kind = config.kind if config.kind.named else kind_in(folder)
    assert kind.weights is not None
    notes: tuple[str, ...] = ()
    if not kind.weights.whole_model:
        tell("loading draft", None, None, "")
        load = imported(kind.weights.load)
        draft = load(folder, target, device=target.device, allow_pickle=config.allow_pickle)
    elif folder == beside:
        draft = target
    else:
        check_same_vocabulary(
            models.tokenizer, load_tokenizer(folder, None), config.target, config.base_draft
        )
        draft = load_model(
            folder,
            Placement(target.device),
            config.dtype,
            "loading draft",
            tell,
            allow_pickle=config.allow_pickle,
        )
        notes = (
            *_context_notes(config, target, draft),
            *_token_notes(config, models.tokenizer, draft),
        )
    probe = Probe(draft) if kind.weights.whole_model and draft is not target else None
    loaded = LoadedModels(target, draft, models.tokenizer, kind, folder, notes)
    if tuned:
        tune(loaded)
    if probe is not None:
        probe.check()
    return loaded


def _rope_notes(config: RunConfig, target: Any) -> tuple[str, ...]:
    """A note on a rotary embedding that changes with length in a way that is not followed."""
    text = text_config(target.config)
    if not depends_on_length(text) or sequence_rotary(target, text) is not None:
        return ()
    end = original_context(text)
    return (f"the rotary scaling of '{config.target}' is not followed beyond token {end}, where outputs end",)


def _context_notes(config: RunConfig, target: Any, draft: Any) -> tuple[str, ...]:
    """A note on a draft whose context is shorter than the target's."""
    of_target, of_draft = (context_of(text_config(model.config)) for model in (target, draft))
    if of_draft >= of_target:
        return ()
    return (
        f"the context of draft '{config.base_draft}' holds {of_draft} tokens and the target's {of_target}: behind "
        f"token {of_draft} the target decodes alone",
    )


def _token_notes(config: RunConfig, vocabulary: Vocabulary, draft: Any) -> tuple[str, ...]:
    """A note on a draft without embeddings for some of the target's tokens."""
    rows = embedding_rows(draft)
    unknown = sorted(i for i in vocabulary.tokens.values() if i >= rows)
    if not unknown:
        return ()
    return (
        f"draft '{config.base_draft}' has embeddings for tokens 0 to {rows - 1}: behind token {unknown[0]} "
        f"({vocabulary.text_of(unknown[0])!r}) or another of {len(unknown)} like it the target decodes alone",
    )


def tune(models: LoadedModels) -> None:
    """Tune as `load_models` says; tuned models stay as they are."""
    weights = models.kind.weights if models.kind is not None else None
    whole = [models.target, models.draft] if weights is not None and weights.whole_model else [models.target]
    for model in {id(model): model for model in whole}.values():
        use_grouped_attention(model)
        use_lean_layers(model)
        pack_linears(model)
        fuse_norms(model)
    if weights is not None and weights.tune:
        imported(weights.tune)(models.draft)


def make_drafter(config: RunConfig, models: LoadedModels) -> Drafter:
    """The drafter of `config` on loaded models. Raises `UsageError` when it cannot fill the run's tree."""
    from spectui.decoding.drafters.base import Setup
    from spectui.decoding.drafters.combined import COMBINED_MATCH, CombinedDrafter
    from spectui.decoding.drafters.lookup import LookupDrafter

    kind = models.drafter_kind(config)
    fixed_sizes = kind.device_build and uses_fixed_sizes(models.target.device.type)
    drafter: Drafter = imported(kind.device_build if fixed_sizes else kind.build)(
        Setup(
            config.shape(),
            int(models.target.config.get_text_config().vocab_size),
            Path(config.base_draft).name,
            models.draft,
            config.temperature,
            config.top_p,
        )
    )
    if not config.looks_up:
        return drafter
    return CombinedDrafter(drafter, LookupDrafter(config.lookup_shape(), COMBINED_MATCH))
