"""Rounds as a decoder would record them, without one: trees, probabilities and text, all from a seed."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from spectui.decoding.trees.shape import ROOT, TreeShape
from spectui.decoding.trees.spec import parse_shape
from spectui.store.records import NodeRecord, RoundRecord

TOKENIZER = "synthetic"

TEXTS = {
    "code": (
        "def merge(a, b):\n    out = []\n    i = j = 0\n    while i < len(a) and j < len(b):\n"
        "        if a[i] <= b[j]:\n            out.append(a[i])\n            i += 1\n        else:\n"
        "            out.append(b[j])\n            j += 1\n    return out + a[i:] + b[j:]\n\n"
    ),
    "math": (
        "Let x be the number of apples. Then 3 * x + 4 = 19, so 3 * x = 15 and x = 5. "
        "Checking: 3 * 5 + 4 = 15 + 4 = 19, as required. The answer is 5.\n\n"
    ),
    "logic": (
        "Anna is taller than Bert, and Bert is taller than Carl. Since being taller carries over, "
        "Anna is taller than Carl. Therefore Carl is the shortest of the three.\n\n"
    ),
    "chat": (
        "Of course! Here is a plan for a calm weekend: sleep in, have a long breakfast, walk along the "
        "river, and cook something you have never tried before. Invite a friend – 朋友 – or don’t. 🙂\n\n"
    ),
}
ACCEPTANCE = {"code": 0.72, "math": 0.58, "logic": 0.5, "chat": 0.42}


def pieces_of(text: str) -> list[bytes]:
    """A text cut into tokens: words with the space before them, and characters cut inside their bytes."""
    out: list[bytes] = []
    for word in re.findall(r"\n+|[ ]*[^\s]+|[ ]+", text):
        data = word.encode("utf-8", "surrogatepass")
        half = len(data) // 2
        out += [data] if len(data) < 9 else [data[:half], data[half:]]
    return out


@dataclass
class Vocabulary:
    """Token ids for byte strings, as they are met."""

    ids: dict[bytes, int] = field(default_factory=dict)

    def __getitem__(self, data: bytes) -> int:
        return self.ids.setdefault(data, len(self.ids) + 5)

    @property
    def table(self) -> dict[int, bytes]:
        return {number: data for data, number in self.ids.items()}


def rounds(
    text: str,
    vocabulary: Vocabulary,
    *,
    seed: int = 0,
    tree: str = "full:3x2",
    acceptance: float = 0.6,
    draft_probabilities: bool = True,
    prefix: int = 40,
) -> Iterator[RoundRecord]:
    """The rounds that write `text` over and over, without end."""
    generator = random.Random(seed)
    shape = parse_shape(tree)
    stream = [vocabulary[piece] for piece in pieces_of(text)]
    everything = sorted(set(stream))
    done = number = 0
    while True:
        ahead = [stream[(done + i) % len(stream)] for i in range(shape.max_depth + 1)]
        path = _walk(shape, ahead, generator, acceptance)
        length = len(path)
        number += 1
        nodes = list(_nodes(shape, ahead, path, everything, generator, draft_probabilities))
        yield RoundRecord(
            number=number,
            prefix_length=prefix + done,
            accepted_length=length,
            bonus_token_id=ahead[length],
            cut=None,
            draft_ms=round(generator.uniform(5, 7), 3),
            verify_ms=round(generator.uniform(30, 36), 3),
            other_ms=round(generator.uniform(0.5, 1.2), 3),
            nodes=nodes,
        )
        done += length + 1


def _walk(shape: TreeShape, ahead: Sequence[int], generator: random.Random, acceptance: float) -> list[int]:
    """The accepted path: from the root down, mostly along the drafter's favourites."""
    path: list[int] = []
    while generator.random() < acceptance:
        below = [i for i in range(shape.size) if int(shape.parent[i]) == (path[-1] if path else ROOT)]
        if not below:
            break
        path.append(below[(ahead[len(path)] % 5 == 0) % len(below)])
    return path


def _nodes(
    shape: TreeShape,
    ahead: Sequence[int],
    path: Sequence[int],
    everything: Sequence[int],
    generator: random.Random,
    draft_probabilities: bool,
) -> Iterator[NodeRecord]:
    """One tree whose accepted path carries the tokens of `ahead`."""
    for index in range(shape.size):
        parent, depth, rank = int(shape.parent[index]), int(shape.depth[index]), int(shape.rank[index])
        wins = index in path
        if wins:
            token = ahead[depth - 1]
        else:
            others = [t for t in everything if t != ahead[depth - 1]]
            token = others[(generator.randrange(len(others) // 8 or 1) * 8 + rank) % len(others)]
        p = generator.uniform(0.45, 0.98) if wins else generator.uniform(0.0, 0.3)
        q = min(max(p + generator.uniform(-0.2, 0.2), 0.01), 0.99)
        yield NodeRecord(
            idx=index,
            parent=None if parent == ROOT else parent,
            depth=depth,
            rank=rank,
            token_id=token,
            draft_p=round(q, 4) if draft_probabilities else None,
            target_p=round(p, 4),
            draft_entropy=round(generator.uniform(0.2, 3), 3) if draft_probabilities else None,
            target_entropy=round(generator.uniform(0.2, 3), 3),
            match=wins,
            accepted=wins,
        )
