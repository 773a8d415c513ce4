"""How often the rank-r child is the accepted one, by depth: what trees are chosen by (`decoding.trees.profile`).

    python -m tests.bench.rank_profile [--draft recycling] [--trees recycling:48 ...] [--tokens 64] [--per-task 12]

Decodes the bundled prompts greedily, with each tree in turn and a fresh drafter, and prints the share of
rounds at risk at each depth whose path goes on with rank 0, 1, 2, ..., tokens per round, and what the
first tree's shares predict for the others. The last line is a `profile.json`: ranks from the first tree
(make it wide), tokens per round of every dynamic one.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from dataclasses import dataclass, field

from spectui import prompts
from spectui.decoding.config import RunConfig
from spectui.decoding.engine import SpeculativeDecoder
from spectui.decoding.models.load import LoadedModels, load_models
from spectui.decoding.rounds import Round
from spectui.decoding.trees.search import expected_tokens
from spectui.decoding.trees.shape import ROOT, TreeShape

RANKS = 8
LEAST_AT_RISK = 40
"""Depths that fewer rounds reached are not believed."""


@dataclass
class Tally:
    """Counts over rounds."""

    hits: dict[int, Counter[int]] = field(default_factory=dict)
    risk: Counter[int] = field(default_factory=Counter)
    tokens: int = 0
    rounds: int = 0
    drafted: int = 0

    def add(self, round_: Round) -> None:
        """Count a round; depths that the output's end cut off are not at risk."""
        tree = round_.tree
        self.rounds += 1
        self.tokens += len(round_.tokens)
        self.drafted += tree.size > 0
        for depth, node in enumerate([ROOT, *round_.path], start=1):
            if not (tree.parent == node).any() or (round_.cut and depth > len(round_.path)):
                continue
            self.risk[depth] += 1
            if depth <= len(round_.path):
                self.hits.setdefault(depth, Counter())[int(tree.rank[round_.path[depth - 1]])] += 1

    def shares(self, depth: int) -> list[float]:
        """By rank, of the rounds at risk at `depth`."""
        return [round(self.hits.get(depth, Counter())[rank] / self.risk[depth], 3) for rank in range(RANKS)]


def tally(config: RunConfig, models: LoadedModels, chosen: list[prompts.Prompt]) -> Tally:
    """Decode `chosen` with a drafter that has seen nothing."""
    decoder = SpeculativeDecoder(config, models=models)
    counts = Tally()
    for position, prompt in enumerate(chosen):
        for round_ in decoder.generate(prompt.text, position=position):
            counts.add(round_)
    return counts


def main() -> None:
    """Decode the bundled prompts and print the profile."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--target", default=RunConfig().target)
    parser.add_argument("--draft", default="recycling")
    parser.add_argument("--trees", nargs="+", default=["recycling:48"])
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--per-task", type=int, default=12)
    arguments = parser.parse_args()
    configs = [
        RunConfig(target=arguments.target, draft=arguments.draft, tree=tree, max_new_tokens=arguments.tokens)
        for tree in arguments.trees
    ]
    models = load_models(configs[0])
    chosen = prompts.interleave(prompts.bundled(per_task=arguments.per_task))
    found: dict[str, float] = {}
    ranks: list[list[float]] = []
    drafted = 1.0
    for config in configs:
        counts = tally(config, models, chosen)
        shape = config.shape()
        found[config.tree] = round(counts.tokens / counts.rounds, 3)
        believed = [d for d in sorted(counts.risk) if counts.risk[d] >= LEAST_AT_RISK]
        if not ranks:
            ranks = [counts.shares(depth) for depth in believed]
            drafted = round(counts.drafted / counts.rounds, 3)
        said = f"{config.tree}: {counts.rounds} rounds, {counts.drafted} drafted, {found[config.tree]} tokens each"
        if isinstance(shape, TreeShape) and ranks:
            tokens = 1.0 + drafted * (expected_tokens(shape, ranks) - 1.0)
            said += f" ({tokens:.3f} predicted by {arguments.trees[0]})"
        print(said)
        for depth in sorted(counts.risk):
            shares = " ".join(f"{share:.3f}" for share in counts.shares(depth))
            print(f"  depth {depth} ({counts.risk[depth]:5} at risk): {shares}")
    dynamic = {tree: tokens for tree, tokens in found.items() if tree.startswith("dynamic")}
    print(json.dumps({"rank_share": ranks, "trees": dynamic, "rounds": drafted}))


if __name__ == "__main__":
    main()
