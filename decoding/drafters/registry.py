"""Every kind of drafter, by name and by the files of its weights. Imports neither torch nor numpy.

A drafter is added by a module beside this one and an entry of `KINDS`, all of which
`tests/decoding/drafters/test_contract.py` tests. The figures of a profile are printed by
``python -m tests.bench.profile_draft ranks --draft D``, on the bundled prompts.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from spectui.decoding.drafters.kind import DrafterKind, Weights
from spectui.decoding.trees.profile import AcceptanceProfile

EMBEDDED_HEAD = Path(__file__).parents[1] / "eagle" / "smollm2-135m-instruct"
"""The EAGLE-3 head of the embedded target, part of the package."""


def _described_by(config: Mapping[str, Any]) -> str | None:
    """Name of the kind of draft head that a ``config.json`` describes; None where it describes none of them."""
    if (kind := config.get("speculators_model_type")) is not None:
        if kind == "dspark" and config.get("markov_rank") == 0:  # without the head that makes the difference
            return "dflash"
        return {"eagle3": "eagle", "eagle": "eagle1"}.get(str(kind), str(kind))
    named = str(config.get("architectures")).lower()
    inner = config.get("dflash_config")
    block = inner if isinstance(inner, Mapping) else {}
    projector = block.get("projector_type", "dflash")
    if "dspark" in named or projector == "dspark":
        return "dspark"
    if "dflash2" in named or "selector_rank" in block or "mtp" in named or projector != "dflash":
        return None
    if "dflash" in named:
        return "dflash"
    if "dflash_config" in config:  # others than DFlash have one, too
        return None if config.get("architectures") else "dflash"
    if "peagle" in named or "paralleleagle" in named or ("eagle3" in named and "ptd_token_id" in config):
        return "peagle"
    if "eagle3" in named or ("draft_vocab_size" in config and "eagle" not in named):
        return "eagle"
    # "Eagle2_5" is a family of targets.
    return "eagle1" if re.search(r"eagle(?!2_5)", f"{named} {config.get('model_type')}".lower()) else None


def _recognises(name: str) -> Callable[[Mapping[str, Any]], bool]:
    return lambda config: _described_by(config) == name


EAGLE = DrafterKind(
    name="eagle",
    help="the EAGLE-3 head of the embedded target",
    default_tree="dynamic:8x4",
    build="spectui.decoding.drafters.eagle:EagleDrafter",
    device_build="spectui.decoding.device.eagle:DeviceEagleDrafter",
    weights=Weights(
        noun="an EAGLE-3 head",
        recognise=_recognises("eagle"),
        load="spectui.decoding.eagle.checkpoint:load_head",
        tune="spectui.decoding.eagle.lean:use_lean_head",
        describe="spectui.decoding.eagle.checkpoint:describe",
        size_from_config="spectui.decoding.models.described:head_bytes",
        home=lambda target: EMBEDDED_HEAD,
    ),
    dynamic_choice=True,
    only_embedded=True,
    bench_trees=("chain:3", "dynamic:8x4", "dynamic:12x4"),
)

DFLASH = DrafterKind(
    name="dflash",
    help="a DFlash block drafter",
    default_tree="chain:7",
    build="spectui.decoding.drafters.block:BlockDrafter",
    device_build="spectui.decoding.device.block:DeviceBlockDrafter",
    weights=Weights(
        noun="a DFlash head",
        recognise=_recognises("dflash"),
        load="spectui.decoding.block.checkpoint:load_block_head",
        tune="spectui.decoding.block.lean:use_lean_block",
        describe="spectui.decoding.block.checkpoint:describe",
        size_from_config="spectui.decoding.models.described:block_head_bytes",
    ),
)

DSPARK = DrafterKind(
    name="dspark",
    help="a DSpark block drafter",
    default_tree="chain:6",
    build="spectui.decoding.drafters.markov:MarkovDrafter",
    device_build="spectui.decoding.device.block:DeviceMarkovDrafter",
    weights=Weights(
        noun="a DSpark head",
        recognise=_recognises("dspark"),
        load="spectui.decoding.block.checkpoint:load_block_head",
        tune="spectui.decoding.block.lean:use_lean_block",
        describe="spectui.decoding.block.checkpoint:describe",
        size_from_config="spectui.decoding.models.described:block_head_bytes",
    ),
)

PEAGLE = DrafterKind(
    name="peagle",
    help="a P-EAGLE head",
    default_tree="chain:4",
    build="spectui.decoding.drafters.parallel_eagle:ParallelEagleDrafter",
    device_build="spectui.decoding.device.parallel:DeviceParallelEagleDrafter",
    weights=Weights(
        noun="a P-EAGLE head",
        recognise=_recognises("peagle"),
        load="spectui.decoding.eagle.checkpoint:load_head",
        tune="spectui.decoding.eagle.lean:use_lean_head",
        describe="spectui.decoding.eagle.checkpoint:describe",
        size_from_config="spectui.decoding.models.described:head_bytes",
    ),
)

EAGLE1 = DrafterKind(
    name="eagle1",
    help="an EAGLE-1 or EAGLE-2 head",
    default_tree="dynamic:8x4",
    build="spectui.decoding.drafters.eagle:EagleDrafter",
    device_build="spectui.decoding.device.eagle:DeviceEagleDrafter",
    weights=Weights(
        noun="an EAGLE-1 or EAGLE-2 head",
        recognise=_recognises("eagle1"),
        recognise_files="spectui.decoding.checkpoints.foreign:is_eagle1",
        load="spectui.decoding.eagle.first_checkpoint:load_first_head",
        tune="spectui.decoding.eagle.lean:use_lean_first_head",
        describe="spectui.decoding.eagle.first_checkpoint:describe",
        size_from_config="spectui.decoding.models.described:first_head_bytes",
    ),
)

LOOKUP = DrafterKind(
    name="lookup",
    help="repeats what followed the same text before",
    default_tree="chain:4",
    build="spectui.decoding.drafters.lookup:build",
    probabilities=False,
    chains_only=True,
    lookup_beside=False,
    # Of matches of `decoding.drafters.lookup.LEAST_MATCH` tokens and more.
    profile=AcceptanceProfile(((0.45,), (0.75,), (0.80,)), rounds=0.18),
)

LOOKUP_BESIDE_PROFILE = AcceptanceProfile(((0.45,), (0.75,), (0.80,)), rounds=0.10)
"""Lookup beside another drafter, of matches of `decoding.drafters.combined.COMBINED_MATCH` tokens and more."""

RECYCLING = DrafterKind(
    name="recycling",
    help="reuses candidates that the target discarded",
    default_tree="recycling:8",
    build="spectui.decoding.drafters.recycling:build",
    probabilities=False,
    # Tokens per round of its own trees, not shares by rank. A tree decides what is learned as well as what is
    # drafted: with 3 nodes rank 0 is accepted half as often as with 48, so that shares taken from a wide tree
    # promise a small one far too much.
    profile=AcceptanceProfile(trees={"recycling:8": 1.73}),
)

PARD = DrafterKind(
    name="pard",
    help="a PARD model",
    default_tree="chain:6",
    build="spectui.decoding.drafters.parallel_lm:ParallelLMDrafter",
    device_build="spectui.decoding.device.parallel:DeviceParallelLMDrafter",
    weights=Weights(
        noun="a PARD model",
        recognise=lambda config: "pard_token" in config,
        describe="spectui.decoding.models.pard:describe",
        whole_model=True,
    ),
)

MTP = DrafterKind(
    name="mtp",
    help="the multi-token-prediction module in the target's own files",
    default_tree="chain:3",
    build="spectui.decoding.drafters.eagle:EagleDrafter",
    device_build="spectui.decoding.device.eagle:DeviceEagleDrafter",
    weights=Weights(
        noun="an MTP module",
        load="spectui.decoding.mtp.checkpoint:load_module",
        tune="spectui.decoding.mtp.checkpoint:use_lean_module",
        describe="spectui.decoding.mtp.checkpoint:describe",
        size_from_config="spectui.decoding.mtp.checkpoint:module_bytes",
        home=lambda target: target,
        inside=True,
    ),
)

DRAFT_MODEL = DrafterKind(
    name="model",
    help="a smaller model that shares the target's vocabulary",
    default_tree="full:3x2",
    build="spectui.decoding.drafters.lm:LMDrafter",
    device_build="spectui.decoding.device.lm:DeviceLMDrafter",
    weights=Weights(noun="a draft model", whole_model=True),
    drafts_as_it_reads=True,
)
"""The kind of every id and folder that is recognised as no other."""

KINDS = {kind.name: kind for kind in (EAGLE, DFLASH, DSPARK, PEAGLE, EAGLE1, LOOKUP, RECYCLING, PARD, MTP)}
"""All but `DRAFT_MODEL`, in the order that forms and benchmarks show them in; weights are of the first kind that
recognises them."""


def kind_of(draft: str) -> DrafterKind:
    """The kind that a ``--draft`` without lookup beside it names; `DRAFT_MODEL` for ids and folders, until their files
    are known (`kind_in`)."""
    kind = KINDS.get(draft)
    return kind if kind is not None and kind.named else DRAFT_MODEL


def kind_in(folder: Path) -> DrafterKind:
    """The kind of the weights in `folder`, by its ``config.json``, or where that tells nothing by their names."""
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return DRAFT_MODEL
    if not isinstance(config, dict):
        return DRAFT_MODEL
    kinds = KINDS.values()
    return next(
        (kind for kind in kinds if kind.recognises(config)),
        next((kind for kind in kinds if kind.recognises_files(config, folder)), DRAFT_MODEL),
    )


def named_kinds(*, embedded: bool) -> list[DrafterKind]:
    """The kinds whose names ``--draft`` takes with the `embedded` target, or with any other."""
    return [kind for kind in KINDS.values() if kind.named and not _is_of_others(kind, embedded)]


def _is_of_others(kind: DrafterKind, embedded: bool) -> bool:
    """True for the embedded head with another target, and for modules within a target's files with the embedded one,
    which has none."""
    return bool(kind.weights and kind.weights.inside) if embedded else kind.only_embedded


def default_kind(*, embedded: bool) -> DrafterKind:
    """The kind that drafts where no ``--draft`` is given."""
    return next(kind for kind in named_kinds(embedded=embedded) if kind.lookup_beside)


def accepted_weights() -> list[str]:
    """The weights that ``--draft`` takes by id or folder, with their articles."""
    kinds = [kind.weights for kind in (*KINDS.values(), DRAFT_MODEL) if kind.weights is not None]
    return [weights.noun for weights in kinds if not weights.inside]


def either(phrases: Sequence[str]) -> str:
    """A list in a sentence: "a, b or c"."""
    *first, last = phrases
    return f"{', '.join(first)} or {last}" if first else last


def draft_help() -> str:
    """The help of ``--draft``."""
    named = ", ".join(f"{kind.name} ({kind.help})" for kind in KINDS.values() if kind.named)
    return (
        f"{named}, or the id or folder of {either(accepted_weights())} that shares the target's vocabulary. Add "
        "+lookup to any of them to draft what followed before wherever the text repeats itself. Default: "
        f"{default_kind(embedded=True).name} for the embedded target, {default_kind(embedded=False).name} for others."
    )
