"""Greedy output against transformers' `generate` for every bundled prompt, drafter and tree shape.

    python -m tests.bench.equality [--tokens 64] [--per-task N] [--trees full:3x2,chain:4,recycling:8]

The `lm` draft is the target's own first layers. Prints every divergence with the reference's top-two
margin; exits 1 when one is no near-tie.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM

import prompts
from decoding import embedded
from decoding.config import RunConfig
from decoding.engine import SpeculativeDecoder
from decoding.models import LoadedModels, load_models
from decoding.packed import pack_linears
from tests.equality import divergence
from tests.models import cut_down, greedy_reference


def main() -> int:
    """Compare and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--per-task", type=int)
    parser.add_argument("--layers", type=int, default=6)
    parser.add_argument("--trees", default="recycling:8,full:3x2,chain:4")
    arguments = parser.parse_args()
    models = load_models(RunConfig())
    reference = AutoModelForCausalLM.from_pretrained(embedded.folder(), dtype=torch.float32).eval()
    with tempfile.TemporaryDirectory() as folder:
        cut_down(reference, Path(folder), arguments.layers, models.tokenizer.tokenizer)
        draft = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    pack_linears(draft)
    decoders = {
        (name, tree): SpeculativeDecoder(
            RunConfig(draft=name, tree=tree, max_new_tokens=arguments.tokens),
            models=LoadedModels(models.target, model, models.tokenizer),
        )
        for name, model in (("recycling", None), ("first-layers", draft))
        for tree in arguments.trees.split(",")
    }
    same = dict.fromkeys(decoders, 0)
    far = 0
    chosen = prompts.bundled(per_task=arguments.per_task)
    for prompt in chosen:
        ids = models.tokenizer.encode_prompt(prompt.text)
        expected = greedy_reference(reference, ids, arguments.tokens)
        for key, decoder in decoders.items():
            found = divergence(decoder, reference, ids, expected)
            if found is None:
                same[key] += 1
                continue
            far += not found.near_tie
            kind = "near-tie" if found.near_tie else "DIFFERENT"
            print(
                f"{prompt.id} {key}: {kind} at token {found.position}, margin {found.margin:.1e}", flush=True
            )
    for (name, tree), count in same.items():
        print(f"{name:14} {tree:14} identical on {count} of {len(chosen)} prompts")
    return 1 if far else 0


if __name__ == "__main__":
    sys.exit(main())
