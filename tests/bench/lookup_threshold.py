"""From which match length on lookup beats the drafter it is combined with: what `COMBINED_MATCH` is chosen by.

    python -m tests.bench.lookup_threshold [--draft recycling] [--tree SHAPE] [--tokens 96] [--per-task 3]

Decodes the bundled prompts greedily with the drafter alone. Before each of its rounds the text is looked
up too, and what the lookup would have had accepted is read from the finished text: both drafters stand
at the same places. Rounds that the output's end cut short are left out.
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from spectui import prompts
from spectui.decoding.config import RunConfig
from spectui.decoding.drafters.suffix_automaton import SuffixAutomaton
from spectui.decoding.engine import SpeculativeDecoder

CHAIN = 12
LENGTHS = (0, 1, 2, 3, 4, 5, 6, 8, 12, 20)
"""Lower ends of the rows printed."""


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


def main() -> None:
    """Decode, and print a row per match length."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--draft", default="recycling")
    parser.add_argument("--tree", default="")
    parser.add_argument("--tokens", type=int, default=96)
    parser.add_argument("--per-task", type=int, default=3)
    arguments = parser.parse_args()
    config = RunConfig(draft=arguments.draft, tree=arguments.tree, max_new_tokens=arguments.tokens)
    decoder = SpeculativeDecoder(config)
    found: list[Place] = []
    for position, prompt in enumerate(prompts.interleave(prompts.bundled(per_task=arguments.per_task))):
        found += places(decoder, decoder.encode(prompt.text), position)
    print(f"{config.draft_name} {config.tree_spec}, {len(found)} rounds; accepted lengths at the same places")
    print(f"{'match':>8} {'rounds':>7} {'share':>6} {'drafter':>8} {'lookup':>7}  lookup's hits by depth")
    for low, high in itertools.pairwise((*LENGTHS, 10**9)):
        report(str(low) if high == low + 1 else f"{low}-", found, low, high)
    for low in LENGTHS[1:]:
        report(f">={low}", found, low, 10**9)


def report(label: str, found: list[Place], low: int, high: int) -> None:
    """A row: the places with a match of `low` tokens and more, below `high`."""
    rows = [place for place in found if low <= place.match < high]
    if not rows:
        return
    looked_up = np.asarray([place.looked_up for place in rows])
    reached = [int((looked_up >= depth).sum()) for depth in range(CHAIN + 1)]
    hits = " ".join(f"{b / a:.2f}" for a, b in itertools.pairwise(reached) if a)
    drafted = np.mean([place.drafted for place in rows])
    print(
        f"{label:>8} {len(rows):7} {len(rows) / len(found):6.2f} {drafted:8.2f} {looked_up.mean():7.2f}  {hits}"
    )


if __name__ == "__main__":
    main()
