"""A thorough measurement of one pair of models on this machine: the process behind `spectui doctor --measure`."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict

from spectui.decoding.imports import all_lasting

with all_lasting():
    from spectui.decoding.config import RunConfig
    from spectui.decoding.errors import DecodingError
    from spectui.decoding.models.load import Progress, load_models
    from spectui.decoding.options import add_arguments, options_of
    from spectui.decoding.worker.choose_tree import costs_of, with_tree


def main() -> int:
    """Measure, keep the record, print it and the tree chosen by it as one JSON object."""
    parser = argparse.ArgumentParser(prog="spectui doctor --measure", description=__doc__)
    run = options_of(RunConfig)
    add_arguments(parser, [run[name] for name in ("target", "draft", "device", "dtype")])
    try:
        config = RunConfig(**vars(parser.parse_args()))
        progress = stage_printer()
        models = load_models(config, progress)
        costs = costs_of(config, models, progress, thorough=True)
        tree = with_tree(config, models).tree
    except DecodingError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stdout.write(json.dumps({**asdict(costs), "tree": tree}) + "\n")
    return 0


def stage_printer() -> Progress:
    """Writes stages to stderr, each with every quarter of its work: a line a tensor would be hundreds."""
    written: set[tuple[str, int]] = set()

    def write(stage: str, done: float | None, total: float | None, unit: str) -> None:
        quarter, extent = 0, ""
        if done is not None and total:
            quarter, extent = int(4 * done / total), f" {done:.0f}/{total:.0f} {unit}"
        if (stage, quarter) not in written:
            written.add((stage, quarter))
            sys.stderr.write(f"{stage}{extent}\n")

    return write


if __name__ == "__main__":
    sys.exit(main())
