"""Memory that the models of a run take, before anything is loaded: ``python -m spectui.decoding.models.needs``, which
``spectui models check MODEL`` runs."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from spectui.decoding.imports import all_lasting

with all_lasting():
    from spectui.decoding.checkpoints import hub
    from spectui.decoding.checkpoints.generation_file import check_generation_file
    from spectui.decoding.checkpoints.hub import Progress
    from spectui.decoding.checkpoints.locate import locate, locate_draft
    from spectui.decoding.checkpoints.tokenizer_files import check_tokenizer
    from spectui.decoding.checkpoints.weight_files import (
        check_weights,
        read_config,
        shards,
        tensors,
    )
    from spectui.decoding.config import RunConfig
    from spectui.decoding.drafters.kind import Weights, imported
    from spectui.decoding.drafters.registry import kind_in
    from spectui.decoding.errors import DecodingError, UsageError
    from spectui.decoding.models.families import register_family
    from spectui.decoding.models.memory import BYTES, CASTABLE, WIDTH, Need, need
    from spectui.decoding.models.placement import all_gpus, free_bytes, gigabytes, resolve_device
    from spectui.decoding.models.quantization import check_quantization, quantization
    from spectui.decoding.options import add_arguments, options_of
    from spectui.decoding.target.sizes import PROVEN, sizes_of
    from spectui.decoding.target.support import check_family
    from spectui.decoding.tokens.vocabulary import check_same_vocabulary


def needs_of(config: RunConfig, progress: Progress, *, from_config: bool = False) -> dict[str, Need]:
    """Memory by role: the target, and the draft where it has weights of its own.

    `from_config` counts what their ``config.json`` describes, whether or not there are weights. Otherwise only the
    small files of models on the hub are fetched, and the headers of the large ones. Raises `DecodingError` in one
    line for models that cannot be loaded.
    """
    folder = locate(config.target, progress, weights=False)
    of_target = kind_in(folder)
    if of_target.is_head and of_target.weights is not None:
        # transformers would load it as a model and make up the weights that it lacks.
        raise DecodingError(
            f"target {config.target} is {of_target.weights.noun}; give it as --draft, and its model here"
        )
    needs = {"target": need_of(config.target, folder, config, from_config=from_config)}
    if not config.speculate or config.kind.weights is None:
        return needs
    draft = locate_draft(config.base_draft, folder, progress, weights=False, allow_pickle=config.allow_pickle)
    kind = config.kind if config.kind.named else kind_in(draft)
    assert kind.weights is not None
    _words_beside(kind.weights, draft, folder)  # refuses one for another target
    if not kind.weights.whole_model:
        if not from_config:
            _check_files(config.base_draft, draft, config)
        needs["draft head"] = _head_need(kind.weights, draft, needs["target"], from_config)
    elif draft != folder:
        needs["draft"] = need_of(config.base_draft, draft, config, from_config=from_config)
    return needs


def need_of(name: str, folder: Path, config: RunConfig, *, from_config: bool = False) -> Need:
    """Memory of the model `name` in `folder`. Raises `DecodingError` as `needs_of`."""
    described = read_config(folder)
    register_family(described)
    check_quantization(name, described, installed=not from_config)
    check_family(name, folder, described)
    check_generation_file(name, folder)
    if not from_config:
        check_tokenizer(name, folder)
    if from_config:
        from spectui.decoding.models.described import (
            model_tensors,  # brings in the layers of models, two seconds
        )

        stored = model_tensors(folder)
    elif _check_files(name, folder, config):
        stored = tensors(folder)
    else:
        stored = hub.remote_tensors(name)
    return need(
        described,
        sizes_of(folder, described),
        stored,
        dtype=config.dtype,
        on_cpu=resolve_device(config.device).type == "cpu",
        max_new_tokens=config.max_new_tokens,
    )


def _check_files(name: str, folder: Path, config: RunConfig) -> bool:
    """False for weights that are on the hub and not here. Raises `DecodingError` for half of them, and for pickles."""
    if not shards(folder) and hub.is_id(name) and not any(folder.glob("*.bin")):
        return False
    check_weights(folder, pickled=config.allow_pickle)
    return True


def _head_need(weights: Weights, folder: Path, target: Need, from_config: bool) -> Need:
    """Memory of a head: its weights in the target's type; the cache of its few layers is left out."""
    width, half = WIDTH[target.dtype], WIDTH["float16"]  # which heads are published in
    described = from_config or weights.inside
    stored = int(imported(weights.size_from_config)(folder)) * width // half if described else 0
    if not stored:
        for tensor in tensors(folder):
            numbers = BYTES[tensor.dtype] if tensor.dtype in CASTABLE else half
            stored += tensor.bytes // numbers * width
    return Need(stored, 0, 0, target.tokens, target.context, target.dtype, None)


def _words_beside(weights: Weights, draft: Path, target: Path) -> str | None:
    """One line on the weights in `draft` for the model in `target`; None for a model that drafts as any other."""
    if not weights.describe:
        return None
    return str(imported(weights.describe)(draft, sizes_of(target, read_config(target))))


def draft_words_beside(config: RunConfig, progress: Progress) -> str | None:
    """One line on the draft of `config` for its target; None for a drafter without any, or that drafts as any other."""
    if not config.speculate or config.kind.weights is None:
        return None
    target = locate(config.target, progress, weights=False)
    draft = locate_draft(config.base_draft, target, progress, weights=False, allow_pickle=config.allow_pickle)
    weights = (config.kind if config.kind.named else kind_in(draft)).weights
    return None if weights is None else _words_beside(weights, draft, target)


def draft_words(config: RunConfig, progress: Progress, *, from_config: bool = False) -> str | None:
    """One line on the weights of `config`'s target where they draft; None for a model that drafts as any other.

    Raises `DecodingError` as `needs_of`.
    """
    folder = locate(config.target, progress, weights=False, allow_pickle=config.allow_pickle)
    weights = kind_in(folder).weights
    if weights is None or (weights.whole_model and not weights.describe):
        return None
    words = str(imported(weights.describe)(folder, None)) if weights.describe else weights.noun
    if not from_config:
        _check_files(config.target, folder, config)
    return words


def check_head_tensors(config: RunConfig, progress: Progress, dtype: str) -> None:
    """Raise `DecodingError` where a head does not hold the tensors that its configuration means for this target.

    `dtype` is the target's ("float16"), which a head is cast to. The head is loaded, as small as heads are; of the
    target nothing is.
    """
    if not config.speculate or config.kind.weights is None:
        return
    target = locate(config.target, progress, weights=False)
    draft = locate_draft(config.base_draft, target, progress, weights=False, allow_pickle=config.allow_pickle)
    weights = (config.kind if config.kind.named else kind_in(draft)).weights
    if weights is None or weights.whole_model or not _check_files(config.base_draft, draft, config):
        return
    from spectui.decoding.models.described import model_without_weights

    model = model_without_weights(target, dtype)
    imported(weights.load)(draft, model, device=resolve_device("cpu"), allow_pickle=config.allow_pickle)


def check_model_tensors(config: RunConfig, progress: Progress) -> None:
    """Raise `DecodingError` where the files of a whole model, the target or its draft, lack a tensor of its
    configuration or have it in another shape, in the words of a run; no weights are read.

    Only families of the suite that name tensors in files as transformers does in modules, and none that are quantised.
    """
    target = locate(config.target, progress, weights=False)
    named = {config.target: target}
    if config.speculate and not config.kind.named:
        draft = locate(config.base_draft, progress, weights=False)
        if not kind_in(draft).is_head:
            named[config.base_draft] = draft
    for name, folder in named.items():
        described = read_config(folder)
        plain = described.get("model_type") in PROVEN - {"gemma3"} and not quantization(described)
        if not plain or not _check_files(name, folder, config) or not shards(folder):
            continue
        from spectui.decoding.models.described import unfit_tensor

        if (words := unfit_tensor(folder)) is not None:
            raise DecodingError(f"model folder {folder} {words}")


def check_vocabularies(config: RunConfig, progress: Progress) -> None:
    """Raise `DecodingError` where the draft is a model of another vocabulary than the target's; of files alone."""
    target = locate(config.target, progress, weights=False)
    if not config.speculate or config.kind.named:
        return
    draft = locate(config.base_draft, progress, weights=False)
    if kind_in(draft).is_head or draft == target:
        return
    read_config(draft)  # a damaged one says more than its tokenizer
    from spectui.decoding.models.loading import load_tokenizer

    check_same_vocabulary(
        load_tokenizer(target, None), load_tokenizer(draft, None), config.target, config.base_draft
    )


def described(config: RunConfig, progress: Progress, *, from_config: bool = False) -> dict[str, Any]:
    """The needs by role, their sum, the device with its free memory, and whether all fits; ready for JSON."""
    device = resolve_device(config.device)
    needs = needs_of(config, progress, from_config=from_config)
    total = sum(need.total for need in needs.values())
    free = free_bytes(device)
    return {
        "draft_words": draft_words_beside(config, progress),
        "needs": {
            role: {
                **asdict(need),
                "total": need.total,
                "model": config.target if role == "target" else config.base_draft,
            }
            for role, need in needs.items()
        },
        "total_bytes": total,
        "device": str(device),
        "free_bytes": free,
        "free_bytes_by_gpu": list(all_gpus()),
        "fits": total <= free,
    }


def table(figures: dict[str, Any]) -> str:
    """The figures of `described` as a table."""
    draft = next((part["model"] for role, part in figures["needs"].items() if role != "target"), "the draft")
    lines = [f"{draft}: {figures['draft_words']}"] if figures["draft_words"] else []
    for role, part in figures["needs"].items():
        kind = f"{part['dtype']}{', ' + part['quantization'] if part['quantization'] else ''}"
        lines.append(
            f"{role:10} {part['model']} ({kind}): weights {gigabytes(part['weights'])}, cache of {part['tokens']:,} "
            f"tokens {gigabytes(part['cache'])}, working memory {gigabytes(part['working'])}"
        )
    fits = "it fits" if figures["fits"] else "it does not fit"
    lines.append(
        f"together   {gigabytes(figures['total_bytes'])} with 5 % to spare; {gigabytes(figures['free_bytes'])} free on "
        f"{figures['device']}: {fits}"
    )
    return "\n".join(lines)


def main() -> int:
    """Print the memory that a pair takes. Exits with 1 when it does not fit or cannot be loaded, 2 for bad usage."""
    parser = argparse.ArgumentParser(prog="spectui models check", description=__doc__)
    parser.add_argument("target")
    run = options_of(RunConfig)
    add_arguments(
        parser, [run[name] for name in ("draft", "device", "dtype", "max_new_tokens", "allow_pickle")]
    )
    parser.add_argument("--from-config", action="store_true")
    parser.add_argument("--json", action="store_true")
    arguments = vars(parser.parse_args())
    as_json, from_config = arguments.pop("json"), arguments.pop("from_config")
    try:
        config = RunConfig(**arguments)
        words = draft_words(config, lambda *_: None, from_config=from_config)
        of_target = kind_in(locate(config.target, lambda *_: None, weights=False))
        if words and of_target.is_head and not config.draft:
            what = {"draft": config.target, "words": words}
            sys.stdout.write((json.dumps(what) if as_json else f"{config.target}: {words}") + "\n")
            return 0
        figures = described(config, lambda *_: None, from_config=from_config)
        if not from_config:
            check_vocabularies(config, lambda *_: None)
            check_model_tensors(config, lambda *_: None)
            check_head_tensors(config, lambda *_: None, figures["needs"]["target"]["dtype"])
    except DecodingError as error:
        sys.stderr.write(f"spectui: {error}\n")
        return 2 if isinstance(error, UsageError) else 1
    if words:
        figures |= {"words": words}
    lines = [f"{config.target}: {words}"] if words else []
    sys.stdout.write((json.dumps(figures) if as_json else "\n".join([*lines, table(figures)])) + "\n")
    if not figures["fits"]:
        sys.stderr.write(
            "spectui: these models do not fit; use a smaller or quantised one, or another --device\n"
        )
    return 0 if figures["fits"] else 1


if __name__ == "__main__":
    sys.exit(main())
