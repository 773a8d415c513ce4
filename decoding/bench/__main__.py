"""Command line of ``spectui bench`` (``python -m spectui.decoding.bench``)."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from spectui import prompts
from spectui.decoding.config import RunConfig
from spectui.decoding.errors import DecodingError
from spectui.decoding.imports import all_lasting
from spectui.decoding.options import add_arguments, options_of
from spectui.decoding.progress import ProgressPrinter
from spectui.decoding.tokens.template_args import read_switches
from spectui.store.errors import StoreError

DESCRIPTION = "Speed against plain and assisted decoding, paired prompt by prompt in one run"
OF_A_RUN = ("template_args", "max_new_tokens", "target", "draft", "tree", "device", "dtype", "raw")
"""Fields of `RunConfig` that are options here too."""


def parser() -> argparse.ArgumentParser:
    """The options of the command line."""
    out = argparse.ArgumentParser(prog="spectui bench", description=DESCRIPTION)
    out.add_argument("--per-task", type=int, default=3, metavar="N", help="prompts per task (default 3)")
    out.add_argument("--tasks", help="tasks, separated by commas (default: all bundled)")
    out.add_argument(
        "--prompts", type=Path, help="a file of prompts instead of the bundled ones, - for stdin"
    )
    add_arguments(out, [options_of(RunConfig)[name] for name in OF_A_RUN], max_new_tokens=96)
    out.add_argument(
        "--drafters",
        metavar="LIST",
        help="compare drafters: 'all', or DRAFT and DRAFT@TREE separated by commas, as in "
        "eagle,eagle@chain:3,recycling,eagle+lookup; nothing is recorded or watched then",
    )
    out.add_argument(
        "--no-dashboard", action="store_true", help="leave out the arm with a dashboard attached"
    )
    out.add_argument(
        "--profile",
        action="store_true",
        help="time the phases of a round and compare them with what memory bandwidth allows; nothing else is measured",
    )
    out.add_argument("--json", action="store_true", help="one JSON object on stdout")
    out.add_argument("--debug", action="store_true", help="show tracebacks")
    return out


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point of ``python -m spectui.decoding.bench`` and of ``spectui bench``."""
    options = parser()
    arguments = options.parse_args(argv)
    if arguments.drafters is not None and (arguments.draft or arguments.tree):
        options.error("--drafters names drafters and trees; leave out --draft and --tree")
    if arguments.profile and arguments.drafters is not None:
        options.error("--profile looks into one drafter; give it as --draft")
    try:
        figures, table = _measure(arguments)
    except (DecodingError, StoreError, prompts.PromptError) as error:
        if arguments.debug:
            raise
        sys.stderr.write(f"spectui: {error}\n")
        return 1
    except KeyboardInterrupt:
        sys.stderr.write("spectui: interrupted\n")
        return 130
    sys.stdout.write((json.dumps(figures) if arguments.json else table(figures)) + "\n")
    return 0


def _measure(arguments: argparse.Namespace) -> tuple[dict[str, Any], Callable[[dict[str, Any]], str]]:
    """The figures that `arguments` ask for, and the function that formats them as a table.

    Imports torch only here: ``--help`` should not wait for it.
    """
    tell = ProgressPrinter()
    chosen = prompts.interleave(prompts.select(arguments.prompts, arguments.tasks, arguments.per_task, tell))
    config = RunConfig(
        **{name: getattr(arguments, name) for name in OF_A_RUN}
        | {"template_args": read_switches(arguments.template_args)}
    )
    if arguments.profile:
        with all_lasting():
            from spectui.decoding.bench import profile

        return profile.figures(*profile.measure(config, chosen, tell)), profile.table
    if arguments.drafters is None:
        with all_lasting():
            from spectui.decoding.bench import speed

        measured = speed.measure(config, chosen, dashboard=not arguments.no_dashboard, tell=tell)
        return speed.summary(*measured), speed.table
    with all_lasting():
        from spectui.decoding.bench import drafters_figures, drafters_table
        from spectui.decoding.bench.drafters import compare, parse_drafters

    comparison = compare(parse_drafters(arguments.drafters, config), chosen, tell=tell)
    return drafters_figures.figures(config, comparison), drafters_table.table


if __name__ == "__main__":
    sys.exit(main())
