"""What-if replay against real runs: predicted tokens per round of a dozen trees on prompts not used to predict.

    python -m tests.bench.replay_coverage --db FILE [--record dynamic:24x6 full:3x3] [--trees ...] [--tokens 64]

Decodes the 60 held-out questions with each tree, recorded in FILE (what is there already is used again), then
predicts from the first half of the questions under each recorded tree what the second half shows, and the other
way round. Prints how many measured values lie in their 90 % intervals, and the error of the replay on the same
prompts, where chance has no part. Speed-ups are predicted from the kept costs: run it on a quiet machine.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np

from decoding import costs as kept_costs
from decoding.budget.estimates import Resampled
from decoding.budget.prices import MEASURED, Priced
from decoding.budget.replay import Replay, replay
from decoding.budget.walks import Rounds, read_rounds, walks_of
from decoding.config import RunConfig
from decoding.distill.prompts import heldout
from decoding.engine import SpeculativeDecoder
from decoding.measure_costs import machine
from decoding.models import LoadedModels, load_models
from decoding.recorder import Recorder
from decoding.tree import parse_tree
from store.database import open_database
from store.reader import Reader
from store.records import PromptRecord
from store.sessions import create_session
from store.writer import SessionWriter

RECORD = ("dynamic:24x6", "full:3x3")
TREES = (
    "dynamic:3x2", "dynamic:4x2", "dynamic:4x3", "dynamic:6x3", "dynamic:8x4", "dynamic:12x4", "dynamic:12x6",
    "chain:1", "chain:3", "chain:5", "full:1x4", "full:2x2", "full:2x3", "full:3x2", "paths:000,1,01",
    "dynamic:3-12x4@0.2/0.3",
)  # fmt: skip
PLAIN = "plain"


def record(path: Path, tree: str, models: LoadedModels, tokens: int) -> None:
    """Decode every held-out question with a tree, or without one, as a session of that name."""
    config = RunConfig(max_new_tokens=tokens)
    config = config.changed(speculate=False) if tree == PLAIN else config.changed(tree=tree)
    questions = sorted(heldout(), key=lambda q: (q["id"].rsplit("-", 1)[-1], q["task"]))
    db = open_database(path)
    session = create_session(
        db, name=tree.replace(":", "_"), config_json=config.to_json(), target=config.target, drafter=config.draft_name,
        tree=tree, prompts=[PromptRecord(q["id"], q["task"], q["prompt"]) for q in questions],
    )  # fmt: skip
    writer = SessionWriter(db, session)
    writer.claim()
    decoder = SpeculativeDecoder(config, models=models)
    recorder = Recorder(writer, decoder)
    for generation in writer.pending_generations():
        ids = decoder.encode(generation.prompt_text)
        writer.start_generation(generation.id, len(ids))
        for round_ in decoder.generate(ids, position=generation.position):
            recorder.record(generation.id, round_)
        writer.finish_generation(generation.id, "finished", finish_reason=round_.finish)
    writer.set_status("finished")
    db.close()


def halves(rounds: Rounds) -> list[np.ndarray]:
    """The prompts of each half, tasks in equal parts."""
    number = np.arange(len(rounds.length)) // len(set(rounds.task))
    return [number % 2 == 0, number % 2 == 1]


def interval(found: Replay, half: np.ndarray, task: np.ndarray) -> tuple[float, float, float]:
    """Predicted tokens per round of other prompts from one half's, with the 90 % interval."""
    resampled = Resampled(task[half].tolist())
    estimate = resampled.ratio([(found.tokens[half], found.rounds[half])], new_prompts=True)
    assert estimate.ci is not None
    return estimate.value, *estimate.ci


def main() -> None:
    """Record what is missing, predict, compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--db", type=Path, required=True)
    parser.add_argument("--record", nargs="+", default=list(RECORD))
    parser.add_argument("--trees", nargs="+", default=list(TREES))
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument(
        "--speed", action="store_true", help="also plain decoding and speed-ups; on a quiet machine"
    )
    arguments = parser.parse_args()
    wanted = [*arguments.record, *arguments.trees, *([PLAIN] if arguments.speed else [])]
    config = RunConfig(max_new_tokens=arguments.tokens)
    open_database(arguments.db).close()
    with Reader(arguments.db) as reader:
        there = {s.tree for s in reader.sessions() if s.recorded_status == "finished"}
    models = None
    for tree in dict.fromkeys(wanted):
        if tree not in there:
            models = models or load_models(config)
            record(arguments.db, tree, models, arguments.tokens)
    with Reader(arguments.db) as reader:
        rounds = {s.tree: read_rounds(reader, s.id) for s in reader.sessions() if s.tree in wanted}
    found = None
    if arguments.speed:
        models = models or load_models(config)
        found = kept_costs.load(machine(config, models))
        if found is None:
            parser.error("no costs are kept for this machine; run: spectui doctor --measure")
    priced = Priced(found, MEASURED) if found else None
    inside, total = 0, 0
    for source in arguments.record:
        walks = walks_of(rounds[source])
        names = list(dict.fromkeys(rounds[source].task))
        task = np.array([names.index(t) for t in rounds[source].task])
        for tree in arguments.trees:
            replayed = replay(walks, parse_tree(tree), priced.ms if priced else lambda *_: 1.0, groups=task)
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
                plain = rounds[PLAIN]
                ms = [
                    float((r.draft_ms + r.verify_ms + r.other_ms).sum() / r.length.sum())
                    for r in (plain, real)
                ]
                predicted = float(replayed.tokens.sum() * priced.plain_ms / replayed.ms.sum())
                row["speedup"] = {"predicted": round(predicted, 3), "measured": round(ms[0] / ms[1], 3)}
            print(json.dumps(row), flush=True)
    print(json.dumps({"inside_90": inside, "of": total}))


if __name__ == "__main__":
    main()
