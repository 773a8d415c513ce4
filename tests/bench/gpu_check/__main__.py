"""The command line of ``make gpu-check``: `python -m tests.bench.gpu_check`.

Exits with 0 when every check holds, with 1 when one does not or something is not captured, with 2 when nothing was
checked, and with 3 where there is no CUDA device. ``--device cpu --tiny`` runs all sections on small shapes, which is
how the check itself is tested: texts, rounds and equalities mean something there, and figures that are marked `void`
do not.
"""

from __future__ import annotations

import argparse
import contextlib
import math
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from types import ModuleType

import torch
from transformers.utils import logging

from tests.bench.gpu_check.report import NOTHING_CHECKED, Report, Setting
from tests.bench.gpu_check.table import read, table
from tests.bench.gpu_check.watch import Watch

NO_CHECK, NO_CUDA = 2, 3
NOT_HERE = "gpu-check: there is no CUDA device here, so nothing was checked or measured; run it on a machine with one"
VOID = "figures that are marked void mean nothing here: shapes are tiny, or there is no GPU"
SECTIONS = {
    "A": "a_environment", "B": "b_capture", "C": "c_verification", "D": "d_levels", "E": "e_end_to_end",
    "F": "f_correctness", "G": "g_int4", "H": "h_limits", "I": "i_compiled",
}  # fmt: skip
ON_REQUEST = "I"
TINY_SHARE = 0.3
"""Of a section's time, on small shapes."""


def parser() -> argparse.ArgumentParser:
    """The options."""
    made = argparse.ArgumentParser(
        prog="python -m tests.bench.gpu_check", description=__doc__.split("\n\n")[0]
    )
    made.add_argument("--device", default="cuda")
    made.add_argument("--tiny", action="store_true", help="small shapes, to test the check itself")
    made.add_argument("--only", metavar="A,B", help="these sections alone")
    made.add_argument("--compile", action="store_true", help="section I, too: two minutes of torch.compile")
    made.add_argument("--budget", type=float, metavar="SECONDS", default=math.inf,
                      help="leave out what would not end within so many seconds of the start")  # fmt: skip
    made.add_argument("--out", type=Path, metavar="FILE", default=Path("gpu-check.jsonl"),
                      help="the JSON lines, beside printing them (default: %(default)s)")  # fmt: skip
    made.add_argument(
        "--table", type=Path, metavar="FILE", help="print the table of such a file, and do nothing else"
    )
    made.add_argument("--inside", metavar="SECTION", help=argparse.SUPPRESS)  # a section's own process
    return made


def chosen(arguments: argparse.Namespace) -> list[str]:
    """The sections to run; exits with a message where one is unknown."""
    if arguments.inside:
        return [arguments.inside]
    if arguments.only is None:
        return [letter for letter in SECTIONS if letter != ON_REQUEST or arguments.compile]
    letters = [each.strip().upper() for each in arguments.only.split(",") if each.strip()]
    unknown = [each for each in letters if each not in SECTIONS]
    if unknown or not letters:
        sys.exit(
            f"gpu-check: there is no section {', '.join(unknown) or 'in --only'}; choose among {', '.join(SECTIONS)}"
        )
    return [letter for letter in SECTIONS if letter in letters]


def run_section(report: Report, watch: Watch, letter: str, *, inside: bool) -> None:
    """One section, if it fits."""
    watch.forgive()
    with report.section(letter, "" if inside else f"section {letter}"):
        module: ModuleType = import_module(f"tests.bench.gpu_check.{SECTIONS[letter]}")
        if not inside:
            report.line(section_title=module.TITLE)
            if not report.fits(module.TITLE, module.SECONDS * (TINY_SHARE if report.setting.tiny else 1.0)):
                return
        (module.inside if inside else module.run)(report, watch)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the sections in their order, and say whether all holds."""
    arguments = parser().parse_args(argv)
    if arguments.table:
        print(table(read(arguments.table)))
        return 0
    letters = chosen(arguments)
    if arguments.device.startswith("cuda") and not torch.cuda.is_available():
        print(NOT_HERE)
        return NO_CUDA
    device = torch.device(arguments.device)
    if device.type == "cuda":
        device = torch.device("cuda", device.index or 0)
        torch.cuda.set_device(device)
    logging.set_verbosity_error()  # generate's own advice
    with contextlib.ExitStack() as stack:
        out = None if arguments.inside else stack.enter_context(arguments.out.open("w", encoding="utf-8"))
        report = Report(Setting(device, arguments.tiny), out, arguments.budget)
        watch = stack.enter_context(Watch())
        note = {} if report.setting.real else {"note": VOID}
        report.line(start="gpu-check", device=str(device), tiny=arguments.tiny, sections=letters, **note)
        for letter in letters:
            run_section(report, watch, letter, inside=bool(arguments.inside))
        if not arguments.inside and not arguments.compile and ON_REQUEST not in letters:
            report.skip(f"section {ON_REQUEST}", "only with --compile")
        report.line(verdict=report.verdict, failures=report.failures, left_out=report.skipped)
    if not arguments.inside:
        print(
            f"{report.verdict}; {arguments.out} has the lines, --table {arguments.out} makes a table of them",
            file=sys.stderr,
        )
    return {"failed": 1, NOTHING_CHECKED: NO_CHECK}.get(report.verdict, 0)


if __name__ == "__main__":
    sys.exit(main())
