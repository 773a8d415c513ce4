"""What is asked of a bench: ``python -m spectui.decoding.bench``; `bench_speed` and its neighbours measure it."""

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
from spectui.decoding.tokens.template_args import read_switches
from spectui.store.errors import StoreError

DESCRIPTION = "Speed against plain and assisted decoding, paired prompt by prompt in one run"


def parser() -> argparse.ArgumentParser:
    """The options."""
    out = argparse.ArgumentParser(prog="spectui bench", description=DESCRIPTION)
    out.add_argument("--per-task", type=int, default=3, metavar="N", help="prompts per task (default 3)")
    out.add_argument("--tasks", help="tasks, separated by commas (default: all bundled)")
    out.add_argument(
        "--prompts", type=Path, help="a file of prompts instead of the bundled ones, - for stdin"
    )
    out.add_argument(
        "--template-arg",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="set a variable of the model's chat template, as enable_thinking=false; may be given again",
    )
    out.add_argument("--max-new-tokens", type=int, default=96, metavar="T")
    for name in ("target", "draft", "tree", "device", "dtype"):
        out.add_argument(f"--{name}", default=getattr(RunConfig(), name))
    out.add_argument(
        "--drafters",
        metavar="LIST",
        help="compare drafters: 'all', or DRAFT and DRAFT@TREE separated by commas, as in "
        "eagle,eagle@chain:3,recycling,eagle+lookup; nothing is recorded or watched then",
    )
    out.add_argument(
        "--raw", action="store_true", help="decode bare logits: without the model's generation_config.json"
    )
    out.add_argument(
        "--no-dashboard", action="store_true", help="leave out the arm with a dashboard attached"
    )
    out.add_argument(
        "--profile",
        action="store_true",
        help="say where a round's time goes, by phase, against what memory bandwidth allows; nothing else is measured",
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
        found, told = _measured(arguments)
    except (DecodingError, StoreError, prompts.PromptError) as error:
        if arguments.debug:
            raise
        sys.stderr.write(f"spectui: {error}\n")
        return 1
    except KeyboardInterrupt:
        sys.stderr.write("spectui: interrupted\n")
        return 130
    sys.stdout.write((json.dumps(found) if arguments.json else told(found)) + "\n")
    return 0


def _measured(arguments: argparse.Namespace) -> tuple[dict[str, Any], Callable[[dict[str, Any]], str]]:
    """The figures that were asked for, and what makes a table of them.

    Imports what measures only now: that brings in torch, and whoever asks for help should not wait for it.
    """
    tell = _Teller()
    chosen = prompts.interleave(prompts.select(arguments.prompts, arguments.tasks, arguments.per_task, tell))
    config = RunConfig(
        max_new_tokens=arguments.max_new_tokens,
        raw=arguments.raw,
        template_args=read_switches(arguments.template_arg),
        **{name: getattr(arguments, name) for name in ("target", "draft", "tree", "device", "dtype")},
    )
    if arguments.profile:
        from spectui.decoding.bench import profile as bench_profile

        profiled = bench_profile.profile(config, chosen, tell)
        return bench_profile.figures(*profiled), bench_profile.table
    if arguments.drafters is None:
        from spectui.decoding.bench import speed as bench_speed

        measured = bench_speed.measure(config, chosen, dashboard=not arguments.no_dashboard, tell=tell)
        return bench_speed.summary(*measured), bench_speed.table
    from spectui.decoding.bench import drafters_figures as bench_drafters_figures
    from spectui.decoding.bench import drafters_table as bench_drafters_table
    from spectui.decoding.bench.drafters import compare, parse_drafters

    comparison = compare(parse_drafters(arguments.drafters, config), chosen, tell=tell)
    return bench_drafters_figures.figures(config, comparison), bench_drafters_table.table


class _Teller:
    """Writes what is going on to stderr, a line where something new begins."""

    def __init__(self) -> None:
        self._last = ""

    def __call__(self, text: str) -> None:
        if text != self._last:
            print(text, file=sys.stderr, flush=True)  # noqa: T201
            self._last = text


if __name__ == "__main__":
    sys.exit(main())
