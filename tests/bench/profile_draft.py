"""Measures what is known of a drafter before a run: the constants of `decoding.drafters.registry` and `profile.json`.

    python -m tests.bench.profile_draft ranks [--draft recycling] [--trees recycling:48 ...] [--tokens 64]
    python -m tests.bench.profile_draft trees --db FILE [SESSION]
    python -m tests.bench.profile_draft lookup [--draft recycling] [--trees SHAPE] [--tokens 96] [--per-task 3]

`ranks` decodes the bundled prompts greedily, with each tree in turn and a fresh drafter, and prints the share of
rounds at risk at each depth whose path goes on with rank 0, 1, 2, ..., tokens per round, and what the first tree's
shares predict for the others. The last line is a `profile.json`: ranks from the first tree (make it wide), tokens
per round of every dynamic one.

`trees` prints tokens per round of many trees from one recorded run, by replay. Record prompts that no claim is made
on (the bundled ones are such), with a tree that is larger than those which may pay:
spectui run --per-task 25 --tree dynamic:12x4 --max-new-tokens 96 --db FILE. A tree decides where its rounds begin, so
what the shares of a text's every position promise is too much; the replay positions the text as the tree itself would.
Trees that ask for more than was recorded are left out.

`lookup` prints from which match length on lookup beats the drafter it is combined with: what `COMBINED_MATCH` is
chosen by. Before each round of the drafter the text is looked up too, and what the lookup would have had accepted is
read from the finished text: both drafters stand at the same places. Rounds that the output's end cut are left out.
"""

from __future__ import annotations

import argparse
import itertools
import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from spectui import prompts
from spectui.decoding.config import RunConfig
from spectui.decoding.drafters.suffix_automaton import SuffixAutomaton
from spectui.decoding.engine import SpeculativeDecoder
from spectui.decoding.models.load import LoadedModels, load_models
from spectui.decoding.rounds import Round
from spectui.decoding.trees.advise.positions import extent_of, positions_of, read_rounds
from spectui.decoding.trees.advise.replay import replay
from spectui.decoding.trees.candidates import NODES
from spectui.decoding.trees.search import expected_tokens
from spectui.decoding.trees.shape import ROOT, TreeShape
from spectui.decoding.trees.spec import dynamic_shape
from spectui.store.reading.reader import Reader

RANKS = 8
LEAST_AT_RISK = 40
"""Depths that fewer rounds reached are not believed."""
MOST_OUTSIDE = 0.03
"""Share of rounds that may leave the recorded tree: what is extrapolated of them hardly moves the mean."""
CHAIN = 12
LENGTHS = (0, 1, 2, 3, 4, 5, 6, 8, 12, 20)
"""Lower ends of the rows that `lookup` prints."""


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


def print_ranks(arguments: argparse.Namespace) -> None:
    """Decode the bundled prompts with each tree and print the profile."""
    configs = [
        RunConfig(target=arguments.target, draft=arguments.draft, tree=tree, max_new_tokens=arguments.tokens)
        for tree in arguments.trees or ["recycling:48"]
    ]
    models = load_models(configs[0])
    chosen = prompts.interleave(prompts.bundled(per_task=arguments.per_task or 12))
    tokens_per_round: dict[str, float] = {}
    ranks: list[list[float]] = []
    drafted = 1.0
    for config in configs:
        counts = tally(config, models, chosen)
        shape = config.shape()
        tokens_per_round[config.tree] = round(counts.tokens / counts.rounds, 3)
        if not ranks:
            ranks = [counts.shares(d) for d in sorted(counts.risk) if counts.risk[d] >= LEAST_AT_RISK]
            drafted = round(counts.drafted / counts.rounds, 3)
        row = f"{config.tree}: {counts.rounds} rounds, {counts.drafted} drafted,"
        row += f" {tokens_per_round[config.tree]} tokens each"
        if isinstance(shape, TreeShape) and ranks:
            tokens = 1.0 + drafted * (expected_tokens(shape, ranks) - 1.0)
            row += f" ({tokens:.3f} predicted by {configs[0].tree})"
        print(row)
        for depth in sorted(counts.risk):
            shares = " ".join(f"{share:.3f}" for share in counts.shares(depth))
            print(f"  depth {depth} ({counts.risk[depth]:5} at risk): {shares}")
    dynamic = {tree: tokens for tree, tokens in tokens_per_round.items() if tree.startswith("dynamic")}
    print(json.dumps({"rank_share": ranks, "trees": dynamic, "rounds": drafted}))


def print_trees(arguments: argparse.Namespace) -> None:
    """Replay a recorded session with many trees."""
    with Reader(arguments.db) as reader:
        rounds = read_rounds(reader, reader.session(arguments.session).id)
    positions = positions_of(rounds)
    extent = extent_of(positions)
    names = list(dict.fromkeys(rounds.task))
    groups = np.array([names.index(task) for task in rounds.task], dtype=np.int64)
    trees = {}
    for nodes in (n for n in NODES if n <= extent.nodes):
        for depth in range(1, min(nodes, extent.depth) + 1):
            replayed = replay(positions, dynamic_shape(nodes, depth), lambda *_: 1.0, groups=groups)
            if replayed.outside <= MOST_OUTSIDE:
                trees[replayed.tree] = round(float(replayed.tokens.sum() / replayed.rounds.sum()), 3)
    print(json.dumps({"prompts": len(rounds.length), "rounds": len(rounds.prompt), "trees": trees}, indent=1))


@dataclass(frozen=True)
class Place:
    """A round of the drafter, and what lookup had to offer there."""

    match: int
    drafted: int
    """Accepted length of the drafter's tree."""
    looked_up: int
    """Tokens of a chain of `CHAIN` that the target would have accepted."""


def places(decoder: SpeculativeDecoder, ids: list[int], position: int) -> Iterator[Place]:
    """Every round of one prompt that had `CHAIN` more tokens to come."""
    text = SuffixAutomaton(ids)
    rounds = list(decoder.generate(ids, position=position))
    output = [token for round_ in rounds for token in round_.tokens]
    done = 0
    for round_ in rounds:
        match = text.match()
        coming = output[done : done + CHAIN]
        if len(coming) == CHAIN:
            chain = text.continuation(match.end, CHAIN) if match else []
            agree = [a == b for a, b in zip(chain, coming, strict=False)]
            yield Place(
                match.length if match else 0,
                len(round_.path),
                agree.index(False) if False in agree else len(agree),
            )
        text.extend(round_.tokens)
        done += len(round_.tokens)


def print_lookup(arguments: argparse.Namespace) -> None:
    """Decode, and print a row per match length."""
    tree = arguments.trees[0] if arguments.trees else ""
    config = RunConfig(
        target=arguments.target, draft=arguments.draft, tree=tree, max_new_tokens=arguments.tokens
    )
    decoder = SpeculativeDecoder(config)
    seen: list[Place] = []
    for position, prompt in enumerate(prompts.interleave(prompts.bundled(per_task=arguments.per_task or 3))):
        seen += places(decoder, decoder.encode(prompt.text), position)
    print(f"{config.draft_name} {config.tree_spec}, {len(seen)} rounds; accepted lengths at the same places")
    print(f"{'match':>8} {'rounds':>7} {'share':>6} {'drafter':>8} {'lookup':>7}  lookup's hits by depth")
    for low, high in itertools.pairwise((*LENGTHS, 10**9)):
        report(str(low) if high == low + 1 else f"{low}-", seen, low, high)
    for low in LENGTHS[1:]:
        report(f">={low}", seen, low, 10**9)


def report(label: str, places: list[Place], low: int, high: int) -> None:
    """A row: the places with a match of `low` tokens and more, below `high`."""
    rows = [place for place in places if low <= place.match < high]
    if not rows:
        return
    looked_up = np.asarray([place.looked_up for place in rows])
    reached = [int((looked_up >= depth).sum()) for depth in range(CHAIN + 1)]
    hits = " ".join(f"{b / a:.2f}" for a, b in itertools.pairwise(reached) if a)
    drafted = np.mean([place.drafted for place in rows])
    print(
        f"{label:>8} {len(rows):7} {len(rows) / len(places):6.2f} {drafted:8.2f} {looked_up.mean():7.2f}  {hits}"
    )


def main() -> None:
    """Measure one of the three."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parts = parser.add_subparsers(required=True)
    for name, measure in (("ranks", print_ranks), ("lookup", print_lookup)):
        part = parts.add_parser(name)
        part.set_defaults(measure=measure)
        part.add_argument("--target", default=RunConfig().target)
        part.add_argument("--draft", default="recycling")
        part.add_argument("--trees", nargs="+", default=[])
        part.add_argument("--tokens", type=int, default=64 if name == "ranks" else 96)
        part.add_argument("--per-task", type=int)
    part = parts.add_parser("trees")
    part.set_defaults(measure=print_trees)
    part.add_argument("--db", type=Path, required=True)
    part.add_argument("session", nargs="?", default="last")
    arguments = parser.parse_args()
    arguments.measure(arguments)


if __name__ == "__main__":
    main()
