"""What `--tree auto` loses to the best fixed tree, told from recorded trees in seconds, with no noise in the figure.

    python -m tests.bench.auto_regret --file FILE [--per-task 7] [--tokens 96] [--seeds 8]

FILE is made where it is missing (four minutes; one that is there is taken as it is): the draft's tree at *every* place
of the target's answers to held-out questions, so that a run with any smaller tree can be gone through without a
model. Then learners and fixed trees go through the same text, and are compared by what their rounds really cost.
Learners see those costs with the noise of a shared server: a round's share of what it should take follows two drifts
and a chance, with the spread (.12) and correlation (.7 from one round to the next, .3 over ten) that rounds had where
this was written.

Also where the kept costs are wrong (nodes or levels cost more or less than was measured), and with no profile
of the draft. Prints the best fixed tree of each case, and tokens per second of auto over its (mean and least of the
seeds).
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spectui.decoding.acceptance import Verdict
from spectui.decoding.config import RunConfig
from spectui.decoding.distill.prompts import heldout
from spectui.decoding.engine import SpeculativeDecoder
from spectui.decoding.host_rounds import HostRounds
from spectui.decoding.models.load import LoadedModels, load_models
from spectui.decoding.rounds import Outcome
from spectui.decoding.trees.advise.prices import MEASURED, Priced
from spectui.decoding.trees.costs import Costs
from spectui.decoding.trees.learn.learner import Learner
from spectui.decoding.trees.learn.prior import candidates_of
from spectui.decoding.trees.profile import Profile
from spectui.decoding.trees.shape import Shape, TokenTree
from spectui.decoding.worker.choose_tree import costs_of, profile_of

NODES, DEPTH = 24, 6
PER_TASK, TOKENS = 7, 96
DRIFTS = ((0.97, 0.085), (0.75, 0.08))
"""Of verifying: how much of it is left a round later, and its spread."""
CHANCE = 0.05
CASES = {
    "as kept": (1.0, 1.0), "nodes cost half": (0.5, 1.0), "nodes cost 1.6 times": (1.6, 1.0),
    "levels cost twice": (1.0, 2.0), "levels cost 0.4 times": (1.0, 0.4),
}  # fmt: skip
TREE = ("token", "parent", "depth", "rank", "draft_logprob")
"""What is kept of a `TokenTree`."""
Tree = tuple[int, int]
"""Nodes and levels."""
Floats = NDArray[np.float64]


class EveryPlace(HostRounds):
    """Drafts and verifies a tree behind every token: the target's own is all that is ever kept."""

    def outcome(self, tree: TokenTree, verdict: Verdict, produced: int, positions: int) -> Outcome:
        token = int(tree.token[verdict.path[0]]) if verdict.path else verdict.bonus
        return super().outcome(tree, Verdict((), token), produced, positions)


def record(path: Path, config: RunConfig, models: LoadedModels, per_task: int) -> None:
    """Write FILE: texts and trees, place by place."""
    decoder = SpeculativeDecoder(config.changed(tree=f"dynamic:{NODES}x{DEPTH}"), models=models)
    assert isinstance(decoder.rounds, HostRounds)
    decoder.rounds = EveryPlace(decoder.rounds.rules, decoder.target, decoder.drafter)
    questions = sorted(heldout(per_task), key=lambda q: (q["id"].rsplit("-", 1)[-1], q["task"]))
    columns: dict[str, list[object]] = {name: [] for name in ("question", "text", *TREE)}
    for number, question in enumerate(questions):
        for round_ in decoder.generate(question["prompt"]):
            columns["question"].append(number)
            columns["text"].append(round_.tokens[0])
            for name in TREE:
                columns[name].append(getattr(round_.tree, name))
    held: dict[str, Any] = {name: np.array(column) for name, column in columns.items()}
    np.savez_compressed(path, task=np.array([question["task"] for question in questions]), **held)


class Texts:
    """What FILE holds."""

    def __init__(self, path: Path) -> None:
        with np.load(path) as held:
            self._columns = {name: held[name] for name in ("text", *TREE)}
            self.tasks: list[str] = held["task"].tolist()
            question = held["question"]
        self.first = np.searchsorted(question, np.arange(len(self.tasks) + 1))
        above, own = self._columns["parent"], self._columns["draft_logprob"].astype(np.float64)
        self._reach = own.copy()
        for node in range(own.shape[1]):
            rows = np.flatnonzero(above[:, node] >= 0)
            self._reach[rows, node] += self._reach[rows, above[rows, node]]
        self.round = cache(self._round)

    def _round(self, place: int, end: int, tree: Tree) -> tuple[TokenTree, list[int]]:
        """The tree of a place, and its path along the text, which goes on to `end`."""
        token, above, depth, rank, logprob = (self._columns[name][place] for name in TREE)
        deep = np.flatnonzero(depth <= tree[1])
        kept = np.sort(deep[np.argsort(-self._reach[place][deep], kind="stable")[: tree[0]]])
        number = {-1: -1, **{int(node): i for i, node in enumerate(kept)}}
        parent = np.array([number[int(above[node])] for node in kept], dtype=np.int64)
        found = TokenTree(token[kept], parent, depth[kept], rank[kept], logprob[kept], np.zeros(len(kept)))
        path: list[int] = []
        for wanted in self._columns["text"][place:end]:
            right = np.flatnonzero((parent == (path[-1] if path else -1)) & (found.token == wanted))
            if not len(right):
                break
            path.append(int(right[0]))
        return found, path


@dataclass(frozen=True)
class Machine:
    """What rounds really cost: the kept costs, of which nodes and levels are so many times as dear."""

    costs: Costs
    nodes: float
    level: float

    def parts(self, tree: Tree) -> tuple[float, float, float]:
        """Milliseconds to draft, to verify and for the rest."""
        one = self.costs.verify_ms(2)
        verify = one + self.nodes * (self.costs.verify_ms(tree[0] + 1) - one)
        return self.level * self.costs.draft_ms(tree[1]), verify, self.costs.other_ms(tree[0])


def noise(seed: int) -> Iterator[tuple[float, float]]:
    """What drafting and verifying take, as shares of what they should, round after round."""
    rng = np.random.default_rng(seed)
    at = [spread * float(rng.normal()) for _, spread in DRIFTS]
    while True:
        for i, (left, spread) in enumerate(DRIFTS):
            at[i] = left * at[i] + spread * float(np.sqrt(1 - left * left) * rng.normal())
        yield float(np.exp(sum(at) + CHANCE * rng.normal())), float(np.exp(sum(at) + CHANCE * rng.normal()))


def through(
    texts: Texts,
    machine: Machine,
    choose: Callable[[str], Tree],
    learn: Callable[[str, TokenTree, list[int], bool], None],
) -> float:
    """Tokens per second over all texts."""
    ms = 0.0
    for task, start, end in zip(texts.tasks, texts.first, texts.first[1:], strict=False):
        place = int(start)
        while place < end:
            tree = choose(task)
            drafted, path = texts.round(place, int(end), tree)
            ms += sum(machine.parts(tree))
            place += len(path) + 1
            learn(task, drafted, path, place > end)
    return 1e3 * float(texts.first[-1]) / ms


def unchanged(texts: Texts, machine: Machine, tree: Tree) -> float:
    """Tokens per second with one tree."""
    return through(texts, machine, lambda _task: tree, lambda *_round: None)


def _recorded(shape: Shape) -> bool:
    """Whether every tree of that shape is within the recorded ones."""
    return shape.size <= NODES and shape.max_depth <= DEPTH


def learnt(texts: Texts, machine: Machine, profile: Profile | None, seed: int) -> tuple[float, float]:
    """Tokens per second with a learner that knows the kept costs, and the share of its rounds that explored."""
    priced = Priced(machine.costs, MEASURED)
    candidates = candidates_of("eagle", profile, priced)
    learner = Learner({k: c for k, c in candidates.items() if _recorded(c.shape)}, priced)
    shares, kinds = noise(seed), [learner.next(texts.tasks[0])]

    def choose(task: str) -> Tree:
        kinds.append(learner.next(task))
        return kinds[-1].shape.size, kinds[-1].shape.max_depth

    def learn(task: str, tree: TokenTree, path: list[int], cut: bool) -> None:
        shape, (draft, verify) = kinds[-1].shape, next(shares)
        parts = machine.parts((tree.size, shape.max_depth))
        took = draft * parts[0], verify * parts[1], parts[2]
        learner.observe(task, tree, path, shape, cut=cut, took=took)

    rate = through(texts, machine, choose, learn)
    return rate, sum(chosen.kind == "explore" for chosen in kinds) / len(kinds)


def main() -> None:
    """Record what is missing, go through it, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--file", type=Path, required=True)
    parser.add_argument(
        "--per-task", type=int, help=f"questions of each task that FILE is made of ({PER_TASK})"
    )
    parser.add_argument("--tokens", type=int, help=f"of each answer ({TOKENS})")
    parser.add_argument("--seeds", type=int, default=8)
    arguments = parser.parse_args()
    if arguments.file.exists() and (arguments.per_task or arguments.tokens):
        parser.error(
            f"{arguments.file} is there, and is taken as it is; give --per-task and --tokens with a new file"
        )
    config = RunConfig(max_new_tokens=arguments.tokens or TOKENS)
    models = load_models(config)
    costs, profile = costs_of(config, models), profile_of(config, models)
    if not arguments.file.exists():
        record(arguments.file, config, models, arguments.per_task or PER_TASK)
    texts = Texts(arguments.file)
    shapes = [
        candidate.shape for candidate in candidates_of("eagle", profile, Priced(costs, MEASURED)).values()
    ]
    fixed = [(shape.size, shape.max_depth) for shape in shapes if _recorded(shape)]
    for name, wrong in CASES.items():
        machine = Machine(costs, *wrong)
        rates = {tree: unchanged(texts, machine, tree) for tree in fixed}
        best = max(rates, key=lambda tree: rates[tree])
        for known in (profile, None):
            runs = [learnt(texts, machine, known, seed) for seed in range(arguments.seeds)]
            over = np.array([rate for rate, _ in runs]) / rates[best]
            row = {
                "costs": name, "profile": known is not None, "best_fixed": f"dynamic:{best[0]}x{best[1]}",
                "auto": round(float(over.mean()), 4), "least": round(float(over.min()), 4),
                "explored": round(float(np.mean([share for _, share in runs])), 4),
            }  # fmt: skip
            print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
