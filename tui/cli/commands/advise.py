"""`spectui advise`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from spectui.store.errors import StoreError
from spectui.store.sources import WATCH
from spectui.tui.cli.options import State, json_option, price_option, shared_options
from spectui.tui.cli.output import json_line, line

if TYPE_CHECKING:
    from spectui.store.reading.reader import Reader


@click.command()
@click.argument("session", default="last")
@json_option
@click.option(
    "--save",
    "save_file",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Write the trees to a plan file, for: spectui run --tree auto:FILE",
)
@click.option("--force", is_flag=True, help="Replace the file that --save names.")
@price_option
@shared_options
@click.pass_obj
def advise(
    state: State,
    session: str,
    as_json: bool,
    save_file: Path | None,
    force: bool,
    price: float | None,
) -> None:
    """Recommend a tree for each task. SESSION is an id, a name, or 'last' (the default).

    Replays the recorded rounds with other trees at the measured costs of drafting and verifying, and compares
    a tree per task with the tree used, with the best single tree, and with plain decoding. Of a server's session,
    says which draft length pays, as far as it can be known.
    """
    from spectui.decoding.trees.advise.advice import advise as weigh
    from spectui.decoding.trees.advise.output import advice_json, undecided, verdict
    from spectui.store.analysis.spending import spending, spending_json
    from spectui.tui.cli.output import print_grids
    from spectui.tui.report.advice import advice_subject, advice_tables, beyond
    from spectui.tui.report.spending import spending_grid

    if save_file is not None:
        from spectui.store.files import check_free

        check_free(save_file, force=force)
    with state.reader() as reader:
        summary = reader.session(session)
        if summary.source == WATCH:
            raise StoreError(
                f"session '{summary.name}' is a watched server, without rounds of ours; what it pays is in:"
                f" spectui report {summary.id}"
            )
        if summary.server is not None:
            if price is not None:
                raise click.UsageError(
                    f"advice on a server's session has no costs; those are in: spectui report {summary.id} --price"
                    f" {price:g}"
                )
            _advise_length(reader, session, as_json=as_json, save=save_file is not None)
            return
        advice = weigh(reader, session)
        spent = spending(advice.summary, reader.figures(advice.summary.id), price)
    if save_file is not None:
        from spectui.decoding.trees.advise.output import plan_of
        from spectui.decoding.trees.plan_file import save_plan

        save_plan(plan_of(advice), save_file, force=force)
    if as_json:
        data = advice_json(advice)
        data["costs"]["per_million_tokens"] = spending_json(spent)
        json_line(data)
        return
    line(advice_subject(advice))
    line()
    print_grids([*advice_tables(advice), spending_grid(advice.summary, spent)])
    for sentence in (verdict(advice), *undecided(advice), *beyond(advice)):
        line(sentence)
    if save_file is not None:
        line(f"wrote {save_file}; use it with: spectui run --tree auto:{save_file}")


def _advise_length(reader: Reader, session: str, *, as_json: bool, save: bool) -> None:
    from spectui.decoding.trees.advise.draft_length import advise_length
    from spectui.tui.cli.output import print_grids
    from spectui.tui.report.draft_length import length_json, length_subject, length_tables, length_words

    if save:
        raise click.UsageError("a server's session has no trees to save; what it says is the draft's length")
    advice = advise_length(reader, session)
    if as_json:
        json_line(length_json(advice))
        return
    line(length_subject(advice))
    line()
    print_grids(length_tables(advice))
    for sentence in length_words(advice):
        line(sentence)
