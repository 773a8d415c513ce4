"""Replay compared with real runs: its predictions for a dozen trees, on questions that it has not seen.

    python -m tests.bench.replay_coverage --db FILE [--speed] [--per-task 8] [--tokens 64] [--trees ...]

Decodes held-out questions with each tree, recorded in FILE (a tree that is there already is not decoded again). All
trees take each question in turn, in an order that moves on, so that the machine's drift meets each alike. Then
predicts from half of the questions under each recorded tree what the other half shows, and the other way round.
Prints how many measured tokens per round lie in their 90 % intervals, and the error of the replay on the same
questions, where chance has no part.

With --speed also plain decoding, and speed-ups over it, predicted and measured on different halves: costs are measured
anew by the same process, five times from before the first question to behind the last, as a machine whose memory others
use makes plain decoding and trees slower by unlike shares from one minute to the next. That wants a quiet machine, for
ten minutes. A round that took three times as long as its tree's median counts as that: something else had the machine.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from spectui.decoding.config import RunConfig
from spectui.decoding.distill.prompts import heldout
from spectui.decoding.engine import SpeculativeDecoder
from spectui.decoding.models.load import LoadedModels, load_models
from spectui.decoding.trees.advise.estimates import Prompts
from spectui.decoding.trees.advise.positions import Rounds, positions_of, read_rounds
from spectui.decoding.trees.advise.prices import MEASURED, Priced
from spectui.decoding.trees.advise.replay import Replay, replay
from spectui.decoding.trees.costs import Costs, Timing
from spectui.decoding.trees.spec import parse_tree
from spectui.decoding.worker.measure_costs import measure
from spectui.decoding.worker.recorder import Recorder
from spectui.store.database import open_database
from spectui.store.reading.reader import Reader
from spectui.store.records import PromptRecord
from spectui.store.sessions import create_session
from spectui.store.writing.writer import SessionWriter

RECORD = ("dynamic:24x6", "full:3x3")
TREES = (
    "dynamic:3x2", "dynamic:4x3", "dynamic:6x3", "dynamic:8x4", "dynamic:12x4", "chain:1", "chain:3", "full:1x4",
    "full:2x2", "full:3x2", "paths:000,1,01", "dynamic:3-12x4@0.2/0.3",
)  # fmt: skip
PLAIN = "plain"
WITHIN = 0.10
"""The largest accepted distance of a predicted speed-up from the measured one."""
OUTLIER = 3.0
LOOKS = 5
"""Times that costs are measured."""


class Arm:
    """A session that is recorded question by question."""

    def __init__(self, path: Path, tree: str, models: LoadedModels, tokens: int, per_task: int) -> None:
        config = RunConfig(max_new_tokens=tokens)
        config = config.changed(speculate=False) if tree == PLAIN else config.changed(tree=tree)
        questions = sorted(heldout(per_task), key=lambda q: (q["id"].rsplit("-", 1)[-1], q["task"]))
        self._db = open_database(path)
        session = create_session(
            self._db, name=tree.replace(":", "_"), config_json=config.to_json(), target=config.target,
            drafter=config.draft_name, tree=tree,
            prompts=[PromptRecord(q["id"], q["task"], q["prompt"]) for q in questions],
        )  # fmt: skip
        self._writer = SessionWriter(self._db, session)
        self._writer.claim()
        self._decoder = SpeculativeDecoder(config, models=models)
        self._recorder = Recorder(self._writer, self._decoder)
        for _ in self._decoder.generate(questions[0]["prompt"]):
            pass  # warms up
        self.waiting = self._writer.pending_generations()

    def decode(self, number: int) -> None:
        """The question of that number."""
        generation = self.waiting[number]
        ids = self._decoder.encode(generation.prompt_text)
        self._writer.start_generation(generation.id, len(ids))
        for round_ in self._decoder.generate(ids, position=generation.position):
            self._recorder.record(generation.id, round_)
        self._recorder.flush()
        self._writer.finish_generation(generation.id, "finished", finish_reason=round_.finish)

    def end(self) -> None:
        """All questions were decoded."""
        self._writer.set_status("finished")
        self._db.close()


def record(
    path: Path, trees: list[str], models: LoadedModels, tokens: int, per_task: int, look: Callable[[], None]
) -> None:
    """A session of each tree, all of them side by side; `look` is called `LOOKS` times from start to end."""
    arms = [Arm(path, tree, models, tokens, per_task) for tree in trees]
    count = len(arms[0].waiting) if arms else 0
    stops = set(np.linspace(0, count, LOOKS - 1, endpoint=False).round().astype(int).tolist())
    for number in range(count):
        if number in stops:
            look()
        arms = arms[1:] + arms[:1]
        for arm in arms:
            arm.decode(number)
    look()
    for arm in arms:
        arm.end()


def pooled(measured: Sequence[Costs]) -> Costs:
    """Costs of a round over all of the time: geometric means of the medians, at every size that was ever timed."""

    def mean(timings: Sequence[Timing]) -> Timing:
        figures = np.log([[t.median, t.low, t.high] for t in timings]).mean(0)
        median, low, high = np.exp(figures).tolist()
        return Timing(median, low, high, sum(t.count for t in timings))

    def of_size(costs: Costs, rows: int) -> Timing:
        ms = costs.verify_ms(rows)
        return costs.verify.get(rows, Timing(ms, ms, ms, 0))

    return replace(
        measured[0],
        verify={
            rows: mean([of_size(costs, rows) for costs in measured])
            for rows in sorted({rows for costs in measured for rows in costs.verify})
        },
        draft={levels: mean([costs.draft[levels] for costs in measured]) for levels in measured[0].draft},
        other=mean([costs.other for costs in measured]),
        other_node=float(np.mean([costs.other_node for costs in measured])),
    )


def ms_per_token(rounds: Rounds, half: np.ndarray) -> float:
    """Of the prompts `half`, as it was measured."""
    ms = rounds.draft_ms + rounds.verify_ms + rounds.other_ms
    ms = np.minimum(ms, OUTLIER * np.median(ms))
    return float(ms[half[rounds.prompt]].sum() / rounds.length[half].sum())


def halves(rounds: Rounds) -> list[np.ndarray]:
    """The prompts of each half, tasks in equal parts."""
    number = np.arange(len(rounds.length)) // len(set(rounds.task))
    return [number % 2 == 0, number % 2 == 1]


def interval(replayed: Replay, half: np.ndarray, task: np.ndarray) -> tuple[float, float, float]:
    """Predicted tokens per round of other prompts from one half's, with the 90 % interval."""
    resampled = Prompts(task[half].tolist())
    estimate = resampled.ratio([(replayed.tokens[half], replayed.rounds[half])], new_prompts=True)
    assert estimate.ci is not None
    return estimate.value, *estimate.ci


def main() -> None:
    """Record what is missing, predict, compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--db", type=Path, required=True)
    parser.add_argument("--record", nargs="+", default=list(RECORD))
    parser.add_argument("--trees", nargs="+", default=list(TREES))
    parser.add_argument("--per-task", type=int, default=8)
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--speed", action="store_true", help="also speed-ups; on a quiet machine")
    arguments = parser.parse_args()
    start = time.perf_counter()
    wanted = [*arguments.record, *arguments.trees, *([PLAIN] if arguments.speed else [])]
    config = RunConfig(max_new_tokens=arguments.tokens)
    open_database(arguments.db).close()
    with Reader(arguments.db) as reader:
        there = {s.tree for s in reader.sessions() if s.recorded_status == "finished"}
    missing = [tree for tree in dict.fromkeys(wanted) if tree not in there]
    priced = None
    if missing or arguments.speed:
        models = load_models(config)
        looks: list[Costs] = []  # kept nowhere but here

        def look() -> None:
            if arguments.speed:
                looks.append(measure(config, models, thorough=True))

        record(arguments.db, missing, models, arguments.tokens, arguments.per_task, look)
        priced = Priced(pooled(looks), MEASURED) if looks else None
    with Reader(arguments.db) as reader:
        rounds = {s.tree: read_rounds(reader, s.id) for s in reader.sessions() if s.tree in wanted}
    inside, total, near = 0, 0, []
    for source in arguments.record:
        positions = positions_of(rounds[source])
        names = list(dict.fromkeys(rounds[source].task))
        task = np.array([names.index(t) for t in rounds[source].task])
        for tree in arguments.trees:
            replayed = replay(
                positions, parse_tree(tree), priced.costs.round_ms if priced else lambda *_: 1.0, groups=task
            )
            real = rounds[tree]
            count = np.bincount(real.prompt, minlength=len(real.length))
            row: dict[str, object] = {"recorded": source, "tree": tree, "extrapolated": replayed.extrapolated}
            row["error_same_prompts"] = round(
                float(replayed.tokens.sum() / replayed.rounds.sum() / (real.length.sum() / count.sum()) - 1),
                4,
            )
            for number, half in enumerate(halves(rounds[source])):
                value, low, high = interval(replayed, half, task)
                measured = float(real.length[~half].sum() / count[~half].sum())
                hit = low <= measured <= high
                row[f"half_{number}"] = [round(v, 3) for v in (value, low, high, measured)] + [hit]
                if not replayed.extrapolated:
                    inside, total = inside + hit, total + 1
                if priced is not None:
                    predicted = float(replayed.tokens[half].sum() * priced.plain_ms / replayed.ms[half].sum())
                    speedup = ms_per_token(rounds[PLAIN], ~half) / ms_per_token(real, ~half)
                    row[f"speedup_{number}"] = [
                        round(v, 3) for v in (predicted, speedup, predicted / speedup)
                    ]
            if priced is not None:
                all_of = np.ones(len(real.length), dtype=np.bool_)
                predicted = float(replayed.tokens.sum() * priced.plain_ms / replayed.ms.sum())
                speedup = ms_per_token(rounds[PLAIN], all_of) / ms_per_token(real, all_of)
                row["speedup"] = {"predicted": round(predicted, 3), "measured": round(speedup, 3)}
                row["round_ms"] = [round(v, 2) for v in parts(real)]
                row["round_ms_due"] = round(float(replayed.ms.sum() / replayed.rounds.sum()), 2)
                if not replayed.extrapolated:
                    near.append(abs(predicted / speedup - 1.0) <= WITHIN)
            print(json.dumps(row), flush=True)
    print(
        json.dumps(
            {
                "inside_90": inside,
                "of": total,
                "speedups_within_10_percent": sum(near),
                "of_speedups": len(near),
                "plain_ms": None if priced is None else [round(priced.plain_ms, 2), *parts(rounds[PLAIN])],
                "seconds": round(time.perf_counter() - start),
            }
        )
    )


def parts(rounds: Rounds) -> list[float]:
    """Median milliseconds of drafting, verifying and the rest."""
    return [round(float(np.median(ms)), 2) for ms in (rounds.draft_ms, rounds.verify_ms, rounds.other_ms)]


if __name__ == "__main__":
    main()
