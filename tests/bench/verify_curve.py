"""The cost of verifying a tree: milliseconds of one forward against its rows, tuned and as loaded.

    python -m tests.bench.verify_curve [--rows 1,4,8,9,16,24,32] [--prefix 150] [--repeat 15]

Tuned (weights packed, attention grouped) and plain take turns; the medians' ratio is printed beside them.
"""

from __future__ import annotations

import argparse
from statistics import median

import torch

from spectui.decoding.config import RunConfig
from spectui.decoding.models.load import load_models
from spectui.decoding.target.language_model import LanguageModel
from spectui.decoding.worker.measure_costs import verify_once


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--target", default=RunConfig().target)
    parser.add_argument("--rows", default="1,2,4,6,8,9,12,16,24,32")
    parser.add_argument("--prefix", type=int, default=150)
    parser.add_argument("--repeat", type=int, default=15)
    arguments = parser.parse_args()
    config = RunConfig(target=arguments.target, speculate=False)
    kinds = {
        name: LanguageModel(load_models(config, tuned=name == "tuned").target) for name in ("tuned", "plain")
    }
    for model in kinds.values():
        model.prefill(list(range(100, 100 + arguments.prefix)))
    print(f"{torch.get_num_threads()} threads, {torch.backends.cpu.get_cpu_capability()}")
    print(f"{'rows':>4} {'tuned ms':>10} {'plain ms':>10} {'plain/tuned':>13} {'tuned/1 row':>13}")
    single = 0.0
    for rows in map(int, arguments.rows.split(",")):
        times: dict[str, list[float]] = {name: [] for name in kinds}
        for _ in range(arguments.repeat):
            for name, model in kinds.items():
                times[name].append(verify_once(model, rows))
        tuned, plain = median(times["tuned"]), median(times["plain"])
        single = single or tuned
        print(f"{rows:4} {tuned:10.1f} {plain:10.1f} {plain / tuned:13.2f} {tuned / single:13.2f}")


if __name__ == "__main__":
    main()
