"""How often the rank-r child is the accepted one, by depth: what `recycling_shape` is built on.

    python -m tests.bench.rank_profile [--tokens 64] [--nodes 48] [--per-task 12] [--no-prompt]

Prints, for Token Recycling on the bundled prompts, the share of rounds at risk at each depth whose
path goes on with rank 0, 1, 2, ..., and tokens per round of the static trees cut from that profile.
"""

from __future__ import annotations

import argparse
from collections import Counter

import prompts
from decoding.config import RunConfig
from decoding.engine import SpeculativeDecoder
from decoding.tree import ROOT


def main() -> None:
    """Decode the bundled prompts with a wide tree and print the profile."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--per-task", type=int, default=12)
    parser.add_argument("--tree", default="recycling:48")
    parser.add_argument("--no-prompt", action="store_true", help="do not learn from the prompt's logits")
    arguments = parser.parse_args()
    decoder = SpeculativeDecoder(RunConfig(max_new_tokens=arguments.tokens, tree=arguments.tree))
    decoder.drafter.wants_prompt_logits = not arguments.no_prompt
    hits: dict[int, Counter[int]] = {}
    risk: Counter[int] = Counter()
    tokens = rounds = 0
    for position, prompt in enumerate(prompts.interleave(prompts.bundled(per_task=arguments.per_task))):
        for round_ in decoder.generate(prompt.text, position=position):
            tree = round_.tree
            rounds += 1
            tokens += len(round_.tokens)
            for depth, node in enumerate([ROOT, *round_.path], start=1):
                children = [i for i in range(tree.size) if tree.parent[i] == node]
                if not children or (round_.cut and depth > len(round_.path)):
                    continue
                risk[depth] += 1
                if depth <= len(round_.path):
                    hits.setdefault(depth, Counter())[int(tree.rank[round_.path[depth - 1]])] += 1
    print(f"{arguments.tree}: {rounds} rounds, {tokens / rounds:.3f} tokens per round")
    for depth in sorted(risk):
        shares = [hits.get(depth, Counter())[rank] / risk[depth] for rank in range(8)]
        print(f"depth {depth} ({risk[depth]:5} at risk): " + " ".join(f"{share:.3f}" for share in shares))


if __name__ == "__main__":
    main()
