"""`--tree auto` against every fixed tree of a sweep, on held-out questions, prompt by prompt. Wants a quiet machine.

    python -m tests.bench.auto_budget [--per-task 15] [--repetitions 3] [--tokens 96] [--trees ...]

All arms decode each question in turn, in an order that moves on, so that the machine's drift meets each alike; each
repetition begins with a learner that knows nothing of the run. Prints tokens per second of every arm, then the ratio
of auto to the best fixed tree (found afterwards, on the same prompts: auto was not told) and to full:3x2, with
the spread over repetitions, and whether every output was that of plain greedy decoding.
"""

from __future__ import annotations

import argparse
import json
import time

from decoding.auto_tree import costs_of, profile_of
from decoding.budget.learner import Learner
from decoding.budget.prices import MEASURED, Priced
from decoding.budget.prior import candidates_of
from decoding.config import RunConfig
from decoding.distill.prompts import heldout
from decoding.engine import SpeculativeDecoder
from decoding.models import load_models

AUTO, PLAIN, STUDY = "auto", "plain", "full:3x2"
TREES = (
    "chain:1", "chain:2", "chain:3", "full:1x2", "full:1x3", "full:1x4", "full:2x2", STUDY, "dynamic:2x2",
    "dynamic:3x2", "dynamic:3x3", "dynamic:4x2", "dynamic:4x3", "dynamic:5x3", "dynamic:6x3", "dynamic:8x4",
    "dynamic:12x4",
)  # fmt: skip


def decode(decoder: SpeculativeDecoder, ids: list[int], task: str, learner: Learner | None) -> list[int]:
    """The tokens of one answer; with a learner its tree is chosen before each round, as the worker does."""
    tokens: list[int] = []
    chosen = None
    if learner is not None:
        chosen = learner.next(task)
        decoder.drafter.use(chosen.shape)
    for round_ in decoder.generate(ids):
        tokens += round_.tokens
        if learner is not None and chosen is not None:
            learner.observe(task, round_.tree, round_.path, chosen.shape, cut=round_.cut is not None)
            following = learner.next(task)
            if following.shape is not chosen.shape:
                decoder.drafter.use(following.shape)
            chosen = following
    return tokens


def main() -> None:
    """Time all arms and print the ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--per-task", type=int, default=15)
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--tokens", type=int, default=96)
    parser.add_argument("--trees", nargs="+", default=list(TREES))
    arguments = parser.parse_args()
    trees = list(dict.fromkeys([STUDY, *arguments.trees]))
    config = RunConfig(max_new_tokens=arguments.tokens)
    models = load_models(config)
    priced = Priced(costs_of(config, models), MEASURED)
    questions = sorted(heldout(arguments.per_task), key=lambda q: (q["id"].rsplit("-", 1)[-1], q["task"]))
    arms = {tree: SpeculativeDecoder(config.changed(tree=tree), models=models) for tree in trees}
    arms[AUTO] = SpeculativeDecoder(config.changed(tree=AUTO), models=models)
    plain = SpeculativeDecoder(config.changed(speculate=False), models=models)
    ids = [plain.encode(q["prompt"]) for q in questions]
    expected = [decode(plain, prompt, "", None) for prompt in ids]
    for decoder in arms.values():
        decode(decoder, ids[0], "", None)  # warms up
    seconds: dict[str, list[float]] = {name: [] for name in arms}
    differing: set[tuple[str, int]] = set()
    order = list(arms)
    learner = None
    for _ in range(arguments.repetitions):
        learner = Learner(candidates_of(config.base_draft, profile_of(config, models), priced), priced)
        spent = dict.fromkeys(arms, 0.0)
        for number, (question, prompt) in enumerate(zip(questions, ids, strict=True)):
            order = order[1:] + order[:1]
            for name in order:
                start = time.perf_counter()
                tokens = decode(arms[name], prompt, question["task"], learner if name == AUTO else None)
                spent[name] += time.perf_counter() - start
                if tokens != expected[number]:
                    differing.add((name, number))
        for name, taken in spent.items():
            seconds[name].append(taken)
    total = sum(map(len, expected))
    best = min(trees, key=lambda tree: sum(seconds[tree]))
    ratios = {
        f"auto_vs_{tree}": [round(a / b, 4) for a, b in zip(seconds[tree], seconds[AUTO], strict=True)]
        for tree in (best, STUDY)
    }
    rates = {name: round(total * arguments.repetitions / sum(taken), 2) for name, taken in seconds.items()}
    assert learner is not None
    print(
        json.dumps(
            {
                "tokens_per_second": dict(sorted(rates.items(), key=lambda item: -item[1])),
                "best_fixed": best,
                **ratios,
                "trees_at_the_end": {q["task"]: learner.next(q["task"]).shape.name for q in questions},
                "identical": len(arms) * len(questions) - len(differing),
                "of": len(arms) * len(questions),
                "prompts": len(questions),
            },
            indent=1,
        )
    )


if __name__ == "__main__":
    main()
