"""Train a draft head for a target from text it writes itself: ``python -m spectui.decoding.distill``."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import fields
from pathlib import Path

from spectui.decoding.distill.config import DistillConfig
from spectui.decoding.distill.prompts import heldout
from spectui.decoding.drafters.registry import EAGLE
from spectui.decoding.errors import DecodingError, UsageError
from spectui.decoding.imports import all_lasting
from spectui.decoding.options import add_arguments, options_of
from spectui.decoding.progress import ProgressPrinter


def parser() -> argparse.ArgumentParser:
    """The options: the fields of `DistillConfig`, the folders, and evaluation alone."""
    out = argparse.ArgumentParser(
        prog="spectui distill",
        description="Train a draft head, EAGLE-3 or P-EAGLE, for a target from text that it writes itself. "
        "After an interruption, the same command goes on.",
    )
    add_arguments(out, options_of(DistillConfig).values())
    out.add_argument("--work", type=Path, default=Path("distill"), help="folder of the intermediate data")
    out.add_argument("--out", type=Path, help="folder of the head (default: WORK/head)")
    out.add_argument(
        "--evaluate",
        metavar="HEAD",
        help=f"only evaluate a head: a folder, or '{EAGLE.name}' for the one that comes with spectui",
    )
    out.add_argument("--per-task", type=int, metavar="N", help="held-out questions per task (default: all)")
    out.add_argument("--json", action="store_true", help="the evaluation as one JSON object on stdout")
    out.add_argument("--debug", action="store_true", help="show tracebacks")
    return out


def main() -> int:
    """Entry point of ``python -m spectui.decoding.distill`` and of ``spectui distill``."""
    arguments = parser().parse_args()
    say = ProgressPrinter()
    try:
        with all_lasting():
            from spectui.decoding.distill.evaluate import evaluate, table

        if arguments.per_task is not None and arguments.per_task < 1:
            raise UsageError(f"--per-task is {arguments.per_task}; give at least 1")
        questions = heldout(arguments.per_task)
        if arguments.evaluate:
            figures = evaluate(
                arguments.evaluate, arguments.target, device=arguments.device, questions=questions, tell=say
            )
        else:
            with all_lasting():
                from spectui.decoding.distill.pipeline import distill

            config = DistillConfig(**{f.name: getattr(arguments, f.name) for f in fields(DistillConfig)})
            out = arguments.out or arguments.work / "head"
            figures = distill(config, arguments.work, out, say, questions)
            say(f"the head is in {out}: spectui run --target {config.target} --draft {out}")
    except DecodingError as error:
        if arguments.debug:
            raise
        sys.stderr.write(f"spectui: {error}\n")
        return 1
    except OSError as error:
        if arguments.debug:
            raise
        sys.stderr.write(
            f"spectui: {error.filename or 'a file'}: {error.strerror or error}; the same command goes on\n"
        )
        return 1
    except KeyboardInterrupt:
        sys.stderr.write("stopped; the same command goes on\n")
        return 130
    sys.stdout.write((json.dumps(figures) if arguments.json else table(figures)) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
