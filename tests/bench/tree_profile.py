"""Tokens per round of many trees from one recorded run, by replay: the ``trees`` of a drafter's `profile.json`.

    spectui run --per-task 25 --tree dynamic:12x4 --max-new-tokens 96 --db FILE
    python -m tests.bench.tree_profile --db FILE [SESSION]

Record prompts that no claim is made on (the bundled ones are such), with a tree that is larger than those which
may pay. A tree decides where its rounds begin, so what the shares of a text's every position promise is too
much; the replay walks the text as the tree itself would. Trees that ask for more than was recorded are left out.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np

from spectui.decoding.trees.advise.positions import extent_of, read_rounds, walks_of
from spectui.decoding.trees.advise.replay import replay
from spectui.decoding.trees.candidates import NODES
from spectui.decoding.trees.spec import dynamic_shape
from spectui.store.reading.reader import Reader

MOST_OUTSIDE = 0.03
"""Share of rounds that may leave the recorded tree: what is extrapolated of them hardly moves the mean."""


def main() -> None:
    """Replay and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--db", type=Path, required=True)
    parser.add_argument("session", nargs="?", default="last")
    arguments = parser.parse_args()
    with Reader(arguments.db) as reader:
        rounds = read_rounds(reader, reader.session(arguments.session).id)
    walks = walks_of(rounds)
    extent = extent_of(walks)
    names = list(dict.fromkeys(rounds.task))
    groups = np.array([names.index(task) for task in rounds.task], dtype=np.int64)
    trees = {}
    for nodes in (n for n in NODES if n <= extent.nodes):
        for depth in range(1, min(nodes, extent.depth) + 1):
            found = replay(walks, dynamic_shape(nodes, depth), lambda *_: 1.0, groups=groups)
            if found.outside <= MOST_OUTSIDE:
                trees[found.tree] = round(float(found.tokens.sum() / found.rounds.sum()), 3)
    print(json.dumps({"prompts": len(rounds.length), "rounds": len(rounds.prompt), "trees": trees}, indent=1))


if __name__ == "__main__":
    main()
