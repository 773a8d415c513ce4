"""Loading: the embedded model, hub ids and local folders; what a pair must have in common."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError

from decoding import embedded
from decoding.attention import use_grouped_attention
from decoding.config import EAGLE, EMBEDDED_TARGET, LOOKUP, RECYCLING, RunConfig
from decoding.eagle.checkpoint import PICKLED, WEIGHTS, is_eagle_head, load_head
from decoding.eagle.head import EagleHead
from decoding.eagle.lean import use_lean_head
from decoding.errors import DecodingError, UsageError
from decoding.language_model import LanguageModel
from decoding.lean import use_lean_layers
from decoding.norms import fuse_norms
from decoding.packed import pack_linears
from decoding.tree import static_only
from decoding.vocabulary import Vocabulary

if TYPE_CHECKING:
    from decoding.drafters.base import Drafter

Progress = Callable[[str, float | None, float | None, str], None]
"""Called as ``progress(stage, done, total, unit)``; None where an extent is not known."""


EMBEDDED_HEAD = Path(__file__).parent / "eagle" / "smollm2-135m-instruct"
"""The head of the embedded target, part of the package."""


@dataclass(frozen=True)
class LoadedModels:
    """Models on their device, ready for inference.

    At most one of `draft` and `head` is there, a draft model or an EAGLE-3 head; neither for drafters
    that need no model.
    """

    target: Any
    draft: Any | None
    tokenizer: Vocabulary
    head: EagleHead | None = None
    draft_folder: Path | None = None
    """Where the draft or the head was loaded from, if that is a folder: its acceptance profile may lie there."""


def load_models(config: RunConfig, progress: Progress | None = None, *, tuned: bool = True) -> LoadedModels:
    """Load what `config` names, tuned for tree verification unless `tuned` is false.

    Tuned models compute the same products faster: attention without copies of the cache, norms as one
    operator, and on a CPU linear layers with weights packed once.

    Raises `DecodingError` in one line when something is missing or unfit.
    """
    tell = progress or (lambda *_: None)
    device = resolve_device(config.device)
    folder = locate(config.target, tell)
    if is_eagle_head(Path(folder)):
        # transformers would load it as a model and make up the weights that it lacks.
        raise DecodingError(
            f"target {config.target} is an EAGLE-3 head; give it as --draft, and its model here"
        )
    tell("loading target", None, None, "")
    target = _load(folder, device, config.dtype, allow_pickle=config.allow_pickle)
    alone = LoadedModels(target, None, _load_tokenizer(folder, target))
    loaded = with_draft(config, alone, tell, tuned=False)
    if tuned:
        tell("tuning", None, None, "")
        _tune(loaded)
    return loaded


def with_draft(
    config: RunConfig, models: LoadedModels, progress: Progress | None = None, *, tuned: bool = True
) -> LoadedModels:
    """The target of `models`, which is that of `config`, with the draft or head that `config` names.

    Loads no target, so that several drafts can share one. Raises `DecodingError` as `load_models` does.
    """
    tell = progress or (lambda *_: None)
    if not config.speculate or config.base_draft in (LOOKUP, RECYCLING):
        return replace(models, draft=None, head=None, draft_folder=None)
    target = models.target
    draft, head = None, None
    folder = locate_draft(config.base_draft, tell)
    tell("loading draft", None, None, "")
    if folder == locate(config.target, tell):
        draft = target
    elif is_eagle_head(Path(folder)):
        head = load_head(Path(folder), target, allow_pickle=config.allow_pickle)
    else:
        check_same_vocabulary(
            models.tokenizer, _load_tokenizer(folder, None), config.target, config.base_draft
        )
        draft = _load(folder, resolve_device(config.device), config.dtype, allow_pickle=config.allow_pickle)
    found = Path(folder) if Path(folder).is_dir() else None
    loaded = LoadedModels(target, draft, models.tokenizer, head, found)
    if tuned:
        _tune(loaded)
    return loaded


def _tune(models: LoadedModels) -> None:
    """See `load_models`; what is tuned already stays as it is."""
    for model in {id(m): m for m in (models.target, models.draft) if m is not None}.values():
        use_grouped_attention(model)
        use_lean_layers(model)
        pack_linears(model)
        fuse_norms(model)
    if models.head is not None:
        use_lean_head(models.head)


def make_drafter(config: RunConfig, models: LoadedModels) -> Drafter:
    """The drafter of `config` on loaded models. Raises `UsageError` when it cannot fill the run's tree."""
    from decoding.drafters.combined import COMBINED_MATCH, CombinedDrafter
    from decoding.drafters.lookup import LookupDrafter

    drafter = _base_drafter(config, models)
    if not config.looks_up:
        return drafter
    return CombinedDrafter(drafter, LookupDrafter(config.lookup_shape(), COMBINED_MATCH))


def _base_drafter(config: RunConfig, models: LoadedModels) -> Drafter:
    from decoding.drafters.eagle import EagleDrafter
    from decoding.drafters.lm import LMDrafter
    from decoding.drafters.lookup import LookupDrafter
    from decoding.drafters.recycling import RecyclingDrafter

    vocab = int(models.target.config.get_text_config().vocab_size)
    shape = config.shape()
    name = Path(config.base_draft).name
    if models.head is not None:
        return EagleDrafter(
            models.head,
            shape,
            name=name,
            temperature=config.temperature,
            top_p=config.top_p,
            seed=config.seed,
        )
    if models.draft is not None:
        return LMDrafter(
            LanguageModel(models.draft),
            shape,
            vocab,
            name=name,
            temperature=config.temperature,
            top_p=config.top_p,
            seed=config.seed,
        )
    if config.base_draft == LOOKUP:
        return LookupDrafter(shape)
    return RecyclingDrafter(static_only(shape, name), vocab)


def resolve_device(name: str) -> torch.device:
    """`auto` is the first GPU, else the CPU. Raises `UsageError` for a GPU this machine does not have."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    device = torch.device(name)
    if device.type == "cuda":
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if (device.index or 0) >= count:
            raise UsageError(
                f"--device {name}: this machine has {count} usable GPUs; use --device cpu or auto"
            )
    return device


def locate(name: str, progress: Progress) -> str:
    """A folder for the embedded model (fetched and converted when needed), else `name` as it is."""
    if name == EMBEDDED_TARGET:
        return str(embedded.ensure(progress))
    looks_local = name.startswith((".", "/", "~")) or name.count("/") > 1
    path = Path(name).expanduser()
    if path.is_dir():
        if not (path / "config.json").is_file():
            raise DecodingError(
                f"model folder {name} has no config.json; give a folder saved by save_pretrained"
            )
        return str(path)
    if looks_local:
        raise DecodingError(
            f"model folder {name} does not exist; give a folder, a hub id, or '{EMBEDDED_TARGET}'"
        )
    return name


def locate_draft(name: str, progress: Progress) -> str:
    """As `locate`, for a draft: the embedded target's head, and heads on the hub, are found too."""
    if name == EAGLE:
        if not is_eagle_head(EMBEDDED_HEAD):
            raise DecodingError(
                "this installation has no draft head for the embedded model; use --draft recycling, or a "
                "folder with an EAGLE-3 head"
            )
        return str(EMBEDDED_HEAD)
    found = locate(name, progress)
    return found if Path(found).is_dir() else _fetched_head(found) or found


def _fetched_head(name: str) -> str | None:
    """The folder of a head on the hub (or in the hub's cache), fetched; None when `name` is a model."""
    from transformers.utils.hub import cached_file

    def get(file: str, **options: Any) -> str | None:
        try:
            path: str | None = cached_file(name, file, **options)
            return path
        except (OSError, ValueError) as error:
            raise DecodingError(_why_not_loaded(name, error)) from error

    config = get("config.json")
    if config is None or not is_eagle_head(Path(config).parent):
        return None
    for file in WEIGHTS:
        if get(file, _raise_exceptions_for_missing_entries=False):
            return str(Path(config).parent)
    raise DecodingError(f"draft head '{name}' has no {' or '.join(WEIGHTS)}; choose another head")


def check_same_vocabulary(target: Vocabulary, draft: Vocabulary, target_name: str, draft_name: str) -> None:
    """Raise `DecodingError` with the first differing entry unless both map the same tokens to the same ids."""
    ours, theirs = target.tokens, draft.tokens
    if ours == theirs:
        return
    by_id_ours = {i: t for t, i in ours.items()}
    by_id_theirs = {i: t for t, i in theirs.items()}
    first = min(
        i for i in by_id_ours.keys() | by_id_theirs.keys() if by_id_ours.get(i) != by_id_theirs.get(i)
    )
    raise DecodingError(
        f"draft '{draft_name}' and target '{target_name}' have different vocabularies: token {first} is "
        f"{by_id_theirs.get(first)!r} in the draft and {by_id_ours.get(first)!r} in the target; "
        "choose a draft of the target's family"
    )


def _load(folder: str, device: torch.device, dtype: str, *, allow_pickle: bool) -> Any:
    from transformers import AutoModelForCausalLM
    from transformers.utils import logging

    logging.disable_progress_bar()
    kind: Any = (
        getattr(torch, dtype) if dtype != "auto" else (torch.float32 if device.type == "cpu" else "auto")
    )
    # Nothing that comes with a model is run: neither its code nor what a pickle may hold.
    safe: Any = {"trust_remote_code": False, "use_safetensors": None if allow_pickle else True}
    try:
        try:
            model = AutoModelForCausalLM.from_pretrained(
                folder, dtype=kind, attn_implementation="sdpa", **safe
            )
        except ValueError as error:
            if "scaled_dot_product_attention" not in str(error):
                raise
            model = AutoModelForCausalLM.from_pretrained(
                folder, dtype=kind, attn_implementation="eager", **safe
            )
        return model.to(device).eval()
    except torch.OutOfMemoryError as error:
        raise DecodingError(
            f"model '{folder}' does not fit on {device}; use a smaller model or --dtype"
        ) from error
    except (OSError, ValueError, KeyError, ImportError, RuntimeError, SafetensorError) as error:
        raise DecodingError(_why_not_loaded(folder, error)) from error


def _load_tokenizer(folder: str, model: Any | None) -> Vocabulary:
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    except (OSError, ValueError, KeyError, ImportError) as error:
        raise DecodingError(f"tokenizer of {_why_not_loaded(folder, error)}") from error
    eos = getattr(getattr(model, "generation_config", None), "eos_token_id", None)
    ends = [eos] if isinstance(eos, int) else list(eos or [])
    return Vocabulary(tokenizer, ends)


def _why_not_loaded(name: str, error: Exception) -> str:
    reason = " ".join(str(error).split())
    if "trust_remote_code" in reason:
        return f"model '{name}' comes with code of its own, which spectui does not run; choose another model"
    if Path(name).is_dir():
        if any(Path(name).glob("*.bin")) and not any(Path(name).glob("*.safetensors")):
            return f"model '{name}' has {PICKLED}"
        return f"model '{name}' cannot be loaded: {reason[:300]}"
    if "safetensors" in reason and "does not appear to have" in reason:
        return f"model '{name}' has no safetensors; if it has {PICKLED}"
    if os.environ.get("HF_HUB_OFFLINE") == "1":
        return (
            f"model '{name}' is not in the local cache and HF_HUB_OFFLINE is set; unset it or give a folder"
        )
    lowered = reason.lower()
    if "connect" in lowered or "resolve" in lowered or "timed out" in lowered:
        return f"model '{name}' is neither a folder nor cached here, and the model hub can't be reached; give a folder"
    if "gated" in lowered or "401" in lowered:
        return f"model '{name}' is gated or private: accept its terms on the hub and log in (hf auth login)"
    if "not a local folder" in lowered or "404" in lowered or "not found" in lowered:
        return f"model '{name}' is not known: give a hub id, a local folder, or '{EMBEDDED_TARGET}'"
    return f"model '{name}' cannot be loaded: {reason[:300]}"
