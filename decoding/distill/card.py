"""The model card of a distilled head, written from the figures that lie beside it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from spectui.decoding.checkpoints.embedded import EMBEDDED
from spectui.decoding.distill.evaluate import table
from spectui.decoding.drafters.registry import PEAGLE
from spectui.store.files import write_text

NAME = "README.md"
FILES = {
    "model.safetensors": "the head, half precision, in the layout of `speculators` and vLLM",
    "config.json": "its sizes and the target's layers that it reads",
    "profile.json": "how often each rank is right at each depth, on validation text; chooses trees",
    "training.json": "settings, text, coverage by vocabulary size, and the history of training",
    "evaluation.json": "the held-out questions' figures below",
}


def write(folder: Path) -> Path:
    """Write ``README.md`` in `folder` from its ``training.json`` and ``evaluation.json``."""
    training = json.loads((folder / "training.json").read_text("utf-8"))
    figures = json.loads((folder / "evaluation.json").read_text("utf-8"))
    path = folder / NAME
    write_text(path, text(training, figures))
    return path


def text(training: dict[str, Any], figures: dict[str, Any]) -> str:
    """The card's text."""
    settings, data = training["settings"], training["text"]
    name = settings["target"]
    embedded, parallel = name == EMBEDDED.name, _is_parallel(training)
    title = "P-EAGLE" if parallel else "EAGLE-3"
    passes, layers = settings["passes"], settings.get("layers", 1)
    if parallel:
        levels = (
            f"{passes} levels from the target's states at one position, all but the first as masked pairs"
        )
    else:
        levels = f"training-time test over {passes} passes in the last two thirds of a phase"
    licence = (
        f"{EMBEDDED.licence}. The weights are derived from {name} ({EMBEDDED.licence}, Hugging Face)."
        if embedded
        else f"That of {name}, from whose text and states it is derived."
    )
    rounds = [*training.get("before", []), training]
    phases = "\n".join(_phase(number, known) for number, known in enumerate(rounds, 1))
    sizes = "\n".join(
        f"| {int(size):,} | {100 * a:.1f} | {100 * b:.1f} |" for size, (a, b) in data["by_size"].items()
    )
    note = f" {training['note']}" if "note" in training else ""
    files = "\n".join(f"- `{file}`: {what}" for file, what in FILES.items())
    return f"""# {title} head for {name}

A draft head ({layers} decoder layer{"s" if layers > 1 else ""}, {training["parameters"] / 1e6:.1f} million
parameters, draft vocabulary {data["size"]:,}) for speculative decoding, distilled with `spectui distill`. It changes no
output: the target verifies every token.

## Evaluation

{table(figures)}

Printed again by `spectui distill --evaluate {"eagle" if embedded and not parallel else "FOLDER"}`. The questions are in
`decoding/distill/heldout.jsonl`; neither they nor the prompts bundled at the time took part in training, and
text that shares eight words in a row with one of them was dropped.{note}

## Training

All text was written by the target itself, over code, math, logic and chat: prompts from templates, prompts
begun with a few words and gone on with by the target, and prompts of its own (in the manner of Magpie); four
fifths of the responses greedy, the rest at temperature 0.7; at most {settings["max_new_tokens"]} tokens each;
loops cut off. AdamW; {levels}.

{phases}

| draft vocabulary | covers of training text, % | of validation text, % |
|---:|---:|---:|
{sizes}

## Files

{files}

## Licence

{licence}
"""


def _phase(number: int, training: dict[str, Any]) -> str:
    """One entry of a list: the training of the head, or of one that it went on from."""
    if not training:
        return f"{number}. An earlier head without records of its training."
    settings, data, last = training["settings"], training["text"], training["history"][-1]
    visits = ", ".join(f"{h['tokens'] / 1e6:.2f}M {h['top1'][0]:.3f}" for h in training["history"])
    top1 = ", ".join(f"{v:.3f}" for v in last["top1"])
    path = "the path so far among its first choices" if _is_parallel(training) else "true tokens fed"
    return f"""{number}. {data["response_tokens"]:,} response tokens in {data["sequences"]:,} sequences, seed
   {settings["seed"]}; {last["tokens"] / 1e6:.2f} million token visits in {last["step"]:,} steps of
   {settings["batch_tokens"]:,} tokens, {training["seconds"] / 60:.0f} minutes, peak rate
   {settings["learning_rate"]:g}. Top-1 at depth 1 on this text's validation part, over token visits:
   {visits}; last, by depth ({path}): {top1}."""


def _is_parallel(training: dict[str, Any]) -> bool:
    """Training by the recipe of P-EAGLE; before there were two, all was EAGLE-3's."""
    return bool(training["settings"].get("recipe") == PEAGLE.name)
