"""`--tree auto` against every fixed tree of a sweep, on held-out questions. Wants a quiet machine for 25 minutes.

    python -m tests.bench.auto_budget [--per-task 15] [--repetitions 3] [--tokens 96] [--trees ...]

The sweep comes first, on a third of the questions: every tree on some of them, the better half on the others. The
three fastest, full:3x2 and auto then decode the other questions, so that no tree is best by luck. Within a stage all
arms decode each question in turn, in an order that moves on, so that the machine's drift meets each alike;
each repetition begins with a learner that knows nothing of the run, or of the sweep.

Prints tokens per second of every arm, the ratio of auto to the finalists by repetition and as the median over
questions with its 90 % interval (resampled), the same ratio as the costs kept for this machine have it (which no
noise touches), and whether every output was that of plain greedy decoding.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import dataclass, field

import numpy as np

from spectui.decoding.config import RunConfig
from spectui.decoding.distill.prompts import heldout
from spectui.decoding.engine import SpeculativeDecoder
from spectui.decoding.models.load import load_models
from spectui.decoding.trees.advise.prices import MEASURED, Priced
from spectui.decoding.trees.learn.learner import Learner
from spectui.decoding.trees.learn.prior import candidates_of
from spectui.decoding.trees.spec import parse_tree
from spectui.decoding.worker.choose_tree import costs_of, profile_of

AUTO, STUDY = "auto", "full:3x2"
TREES = (
    "chain:1", "chain:2", "chain:3", "full:1x2", "full:1x3", "full:1x4", "full:2x2", STUDY, "dynamic:2x2",
    "dynamic:3x2", "dynamic:3x3", "dynamic:4x2", "dynamic:4x3", "dynamic:5x2", "dynamic:5x3", "dynamic:6x2",
    "dynamic:6x3", "dynamic:8x4", "dynamic:12x4",
)  # fmt: skip
FINALISTS = 3
RESAMPLES = 2000


@dataclass
class Arm:
    """A way to decode, and what it took: by repetition and question."""

    decoder: SpeculativeDecoder
    levels: int = 0
    """That its tree has drafted each round, also where fewer are kept; those of auto are the chosen trees'."""
    seconds: list[list[float]] = field(default_factory=list)
    due: list[list[float]] = field(default_factory=list)
    """What its rounds cost by the kept costs, in seconds."""
    rounds: int = 0
    tokens: int = 0

    @property
    def rate(self) -> float:
        """Tokens per second."""
        return self.tokens / sum(map(sum, self.seconds))


class Bench:
    """Models, questions and their outputs without speculation."""

    def __init__(self, per_task: int, tokens: int) -> None:
        self.config = RunConfig(max_new_tokens=tokens)
        self.models = load_models(self.config)
        # What a run would take: the costs kept for this machine, measured now where there are none.
        self.priced = Priced(costs_of(self.config, self.models), MEASURED)
        self.profile = profile_of(self.config, self.models)
        questions = sorted(heldout(per_task), key=lambda q: (q["id"].rsplit("-", 1)[-1], q["task"]))
        self.tasks = [q["task"] for q in questions]
        plain = SpeculativeDecoder(self.config.changed(speculate=False), models=self.models)
        self.ids = [plain.encode(q["prompt"]) for q in questions]
        self.expected = [[t for r in plain.generate(prompt) for t in r.tokens] for prompt in self.ids]
        self.differing: set[tuple[str, int]] = set()
        self.checked: set[tuple[str, int]] = set()

    def arm(self, tree: str) -> Arm:
        """A decoder with a tree, warmed up."""
        levels = 0 if tree == AUTO else parse_tree(tree).max_depth
        arm = Arm(SpeculativeDecoder(self.config.changed(tree=tree), models=self.models), levels)
        for _ in arm.decoder.generate(self.ids[0]):
            pass
        return arm

    def learner(self) -> Learner:
        """One that knows nothing of any run."""
        return Learner(candidates_of(self.config.base_draft, self.profile, self.priced), self.priced)

    def run(self, arms: dict[str, Arm], questions: list[int], repetitions: int) -> Learner:
        """Decode the questions with every arm, next to each other. The learner of the last repetition."""
        order = list(arms)
        learner = self.learner()
        for _ in range(repetitions):
            learner = self.learner()
            for arm in arms.values():
                arm.seconds.append([])
                arm.due.append([])
            for number in questions:
                order = order[1:] + order[:1]
                for name in order:
                    self._decode(name, arms[name], number, learner if name == AUTO else None)
        return learner

    def _decode(self, name: str, arm: Arm, number: int, learner: Learner | None) -> None:
        """With a learner the tree is chosen before each round, as the worker does."""
        tokens: list[int] = []
        shapes: list[tuple[int, int]] = []
        task, drafter = self.tasks[number], arm.decoder.drafter
        start = time.perf_counter()
        chosen = None
        if learner is not None:
            chosen = learner.next(task)
            drafter.use(chosen.shape)
        for round_ in arm.decoder.generate(self.ids[number]):
            tokens += round_.tokens
            shapes.append((round_.tree.size, chosen.shape.max_depth if chosen else arm.levels))
            if learner is not None and chosen is not None:
                took = (round_.draft_ms, round_.verify_ms, round_.other_ms)
                cut = round_.cut is not None
                learner.observe(task, round_.tree, round_.path, chosen.shape, cut=cut, took=took)
                following = learner.next(task)
                if following.shape is not chosen.shape:
                    drafter.use(following.shape)
                chosen = following
        arm.seconds[-1].append(time.perf_counter() - start)
        arm.due[-1].append(sum(self.priced.ms(*shape) for shape in shapes) / 1e3)
        arm.rounds += len(shapes)
        arm.tokens += len(tokens)
        self.checked.add((name, number))
        if tokens != self.expected[number]:
            self.differing.add((name, number))


def sweep(bench: Bench, trees: list[str], questions: list[int]) -> dict[str, Arm]:
    """Every tree on two fifths of the questions, then the better half on the others; the fastest first."""
    arms = {tree: bench.arm(tree) for tree in trees}
    cut = max(len(questions) * 2 // 5, 1)
    bench.run(arms, questions[:cut], 1)
    ranked = sorted(arms, key=lambda tree: -arms[tree].rate)
    half = ranked[: max(len(ranked) // 2, FINALISTS)]
    bench.run({tree: arms[tree] for tree in half}, questions[cut:] or questions, 1)
    half.sort(key=lambda tree: -arms[tree].rate)
    return {tree: arms[tree] for tree in [*half, *ranked[len(half) :]]}


def compared(arm: Arm, other: Arm) -> dict[str, object]:
    """How much faster `arm` is than `other` on the same questions."""
    mine, theirs = np.array(arm.seconds), np.array(other.seconds)
    logs = np.log(theirs / mine)
    of_question = np.median(logs, axis=0)
    rng = np.random.default_rng(0)
    drawn = rng.choice(of_question, size=(RESAMPLES, len(of_question)))
    low, high = np.quantile(np.exp(np.median(drawn, axis=1)), [0.05, 0.95])
    return {
        "by_repetition": [round(float(r), 4) for r in theirs.sum(1) / mine.sum(1)],
        "all": round(float(theirs.sum() / mine.sum()), 4),
        "median_question": round(float(np.exp(np.median(of_question))), 4),
        "ci": [round(float(low), 4), round(float(high), 4)],
        "by_kept_costs": round(float(np.sum(other.due) / np.sum(arm.due)), 4),
    }


def main() -> None:
    """Sweep, compare, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--per-task", type=int, default=15)
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--tokens", type=int, default=96)
    parser.add_argument("--trees", nargs="+", default=list(TREES))
    arguments = parser.parse_args()
    start = time.perf_counter()
    bench = Bench(arguments.per_task, arguments.tokens)
    tasks = len(set(bench.tasks))
    count = len(bench.ids)
    # Questions lie task by task in turns: the first third has all tasks.
    split = max(count // 3 // tasks, 1) * tasks
    swept = sweep(bench, list(dict.fromkeys(arguments.trees)), list(range(split)))
    finalists = list(swept)[:FINALISTS]
    arms = {tree: bench.arm(tree) for tree in dict.fromkeys([*finalists, STUDY, AUTO])}
    learner = bench.run(arms, list(range(split, count)), arguments.repetitions)
    print(
        json.dumps(
            {
                "sweep_tokens_per_second": {tree: round(arm.rate, 2) for tree, arm in swept.items()},
                "tokens_per_second": {name: round(arm.rate, 2) for name, arm in arms.items()},
                "tokens_per_round": {name: round(arm.tokens / arm.rounds, 3) for name, arm in arms.items()},
                "best_fixed": finalists[0],
                **{f"auto_vs_{tree}": compared(arms[AUTO], arms[tree]) for tree in arms if tree != AUTO},
                "trees_at_the_end": {
                    task: learner.next(task).shape.name for task in dict.fromkeys(bench.tasks)
                },
                "pace": [round(f, 3) for f in learner.pace],
                "identical": len(bench.checked) - len(bench.differing),
                "of": len(bench.checked),
                "questions": {"sweep": split, "compared": count - split},
                "seconds": round(time.perf_counter() - start),
            },
            indent=1,
        )
    )


if __name__ == "__main__":
    main()
