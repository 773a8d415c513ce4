"""Greedy output against transformers' `generate` for every bundled prompt, drafter and tree shape.

    python -m tests.bench.equality [--tokens 64] [--per-task N] [--runs eagle@dynamic:4x3,recycling@full:3x2,...]

With `--reference plain` against our own loop without speculation, which is three times faster. The draft
`first-layers` is a model of the target's own first layers. Prints every divergence with the reference's
top-two margin; exits 1 when one is no near-tie.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM

from spectui import prompts
from spectui.decoding.checkpoints import embedded
from spectui.decoding.config import RunConfig
from spectui.decoding.engine import SpeculativeDecoder
from spectui.decoding.models.load import LoadedModels, load_models, with_draft
from spectui.decoding.target.packed import pack_linears
from tests.equality import divergence
from tests.models import cut_down, greedy_reference

FIRST_LAYERS = "first-layers"

RUNS = (
    "eagle@dynamic:4x3,eagle@full:3x2,recycling@recycling:8,recycling@full:3x2,"
    f"{FIRST_LAYERS}@full:3x2,{FIRST_LAYERS}@chain:4"
)


def main() -> int:
    """Compare and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument(
        "--tasks", help="separated by commas, to share the work among processes (default: all)"
    )
    parser.add_argument("--per-task", type=int)
    parser.add_argument("--layers", type=int, default=6)
    parser.add_argument("--reference", choices=("generate", "plain"), default="generate")
    parser.add_argument("--runs", default=RUNS, help="DRAFT@TREE, separated by commas")
    arguments = parser.parse_args()
    models = load_models(RunConfig())
    reference = AutoModelForCausalLM.from_pretrained(embedded.folder(), dtype=torch.float32).eval()
    with tempfile.TemporaryDirectory() as folder:
        cut_down(reference, Path(folder), arguments.layers, models.tokenizer.tokenizer)
        draft = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    pack_linears(draft)
    decoders = {}
    for run in arguments.runs.split(","):
        name, _, tree = run.partition("@")
        own = LoadedModels(models.target, draft if name == FIRST_LAYERS else None, models.tokenizer)
        config = RunConfig(draft=name, tree=tree, max_new_tokens=arguments.tokens)
        if name not in ("recycling", FIRST_LAYERS):
            own = with_draft(config, own)
        decoders[run] = SpeculativeDecoder(config, models=own)
    plain = None
    if arguments.reference == "plain":
        config = RunConfig(speculate=False, max_new_tokens=arguments.tokens)
        plain = SpeculativeDecoder(config, models=models)
    same = dict.fromkeys(decoders, 0)
    far = 0
    tasks = arguments.tasks.split(",") if arguments.tasks else None
    chosen = prompts.bundled(tasks, per_task=arguments.per_task)
    for number, prompt in enumerate(chosen, start=1):
        ids = models.tokenizer.encode_prompt(prompt.text)
        if plain is None:
            expected = greedy_reference(reference, ids, arguments.tokens)
        else:
            expected = [t for round_ in plain.generate(ids) for t in round_.tokens]
        print(f"{number}/{len(chosen)} {prompt.id}", file=sys.stderr, flush=True)
        for run, decoder in decoders.items():
            difference = divergence(decoder, reference, ids, expected)
            if difference is None:
                same[run] += 1
                continue
            far += not difference.near_tie
            kind = "near-tie" if difference.near_tie else "DIFFERENT"
            print(
                f"{prompt.id} {run}: {kind} at token {difference.position}, margin {difference.margin:.1e}",
                flush=True,
            )
    for run, count in same.items():
        print(f"{run:24} identical on {count} of {len(chosen)} prompts")
    return 1 if far else 0


if __name__ == "__main__":
    sys.exit(main())
