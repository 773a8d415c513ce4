"""`spectui audit`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import click

from spectui.decoding.config import RunConfig
from spectui.decoding.options import options_of
from spectui.tui.cli.options import Finite, json_option, not_empty, run_option, shared_options
from spectui.tui.cli.output import Bar, json_line, line, prose, table
from spectui.tui.run_options import Request
from spectui.tui.terminal.cells import NOTHING, count

if TYPE_CHECKING:
    from spectui.prompts import Prompt
    from spectui.servers.audit.outputs import Output
    from spectui.servers.audit.verdict import Audit, Compared, Parting, Verdict
    from spectui.servers.kinds import Recognised

LOCAL = "local"
OF_THE_TARGET = ("target", "device", "dtype", "raw")
"""Options of a run that choose the target here."""
PER_TASK, MOST_TOKENS = 3, 64
"""Prompts of each task and new tokens of each, where options do not say: enough to find a bug, and a minute's work."""
SHOWN = 20
"""Outputs that part, listed; `--json` has all."""
MOST_FAILURES = 3
"""Prompts that fail one after the other, before a server is given up."""
TITLES: dict[Verdict, str] = {
    "identical": "identical",
    "tie": "ties",
    "bug": "bugs",
    "unknown": "not known",
    "failed": "not compared",
}
WORDS: dict[Verdict, str] = {
    "identical": "identical: every output is that of the reference.",
    "tie": "ties of rounding: outputs part only where two tokens are nearly as likely.",
    "bug": "a bug: outputs have tokens that the target would not have chosen. Speculation, the model, or a default of"
    " the server such as a repetition penalty is not what it should be.",
    "unknown": "not known: outputs part, and nothing tells how likely the other token was there. Audit against local,"
    " or against a server that gives log probabilities.",
    "failed": "not known: more than half of the outputs could not be compared.",
}


def _options(function: Callable[..., int]) -> Callable[..., int]:
    declared = options_of(RunConfig) | options_of(Request)
    names = ("tasks", "per_task", "prompts", "max_new_tokens", *OF_THE_TARGET)
    defaults = {
        "per_task": f"Only the first N prompts of each task (default: {PER_TASK}, or all of --prompts).",
        "max_new_tokens": f"Most tokens per prompt (default: {MOST_TOKENS}).",
    }
    for name in reversed(names):
        changes = {"help": defaults[name]} if name in defaults else {}
        function = run_option(declared[name], **changes)(function)
    return function


@click.command()
@click.option(
    "--server",
    required=True,
    metavar="URL",
    help="Server whose outputs are audited: llama.cpp, vLLM, SGLang.",
)
@click.option(
    "--against",
    default=LOCAL,
    metavar="URL|local",
    show_default=True,
    help="What they are held against: the same server without speculation, or the target here.",
)
@click.option(
    "--model",
    metavar="NAME",
    callback=not_empty,
    help="Model to ask for (default: the only one that it serves).",
)
@click.option(
    "--api-key-env",
    metavar="NAME",
    callback=not_empty,
    help="Environment variable that holds the key of --server's host; sent to no other, never printed.",
)
@_options
@click.option(
    "--tolerance",
    type=Finite(min=0.0),
    metavar="NATS",
    help="Largest margin that is rounding (default: by how far apart both compute).",
)
@json_option
@shared_options
def audit(
    server: str,
    against: str,
    model: str | None,
    api_key_env: str | None,
    tolerance: float | None,
    as_json: bool,
    **values: Any,
) -> int:
    """Check whether speculation on a server is lossless.

    Sends the same greedy prompts to both. Says where outputs part from those of the reference, and by what margin the
    reference prefers its own token. Two programs round differently, so that outputs may part where two tokens are
    nearly as likely; where the margin is larger, it is a bug. Against the target here every token is checked, not only
    the first that differs. Ends with 1 for a bug, and where more than half of the outputs could not be compared.
    """
    from spectui.servers.address import key_for, read_address
    from spectui.servers.audit.verdict import audit_of

    model, api_key_env = model or "", api_key_env or ""
    chosen = {name: value for name, value in values.items() if value is not None}
    prompts = _prompts(chosen)
    most = int(chosen.pop("max_new_tokens", MOST_TOKENS))
    RunConfig(speculate=False, max_new_tokens=most, **chosen)  # refuses what a run would refuse
    address = read_address(server)
    other = None if against == LOCAL else read_address(against, "--against")
    if other == address:
        raise click.UsageError(
            "--against is the server that is audited; give the same server without speculation, or local"
        )
    if other is not None and set(chosen) & set(OF_THE_TARGET):
        raise click.UsageError("--target, --device, --dtype and --raw belong to --against local")
    with Bar(delay=1.0) as bar:
        key_there = key_for(other or address, address, api_key_env)
        if other is not None:
            _look_at(other, key_there, model)  # before prompts are asked for minutes
        outputs, about = _ask(address, api_key_env, model, prompts, most, bar)
        if other is None:
            compared, reference = _judged_here(prompts, outputs, chosen | {"max_new_tokens": most}, bar)
        else:
            compared, reference = _beside(prompts, outputs, (other, key_there, model, most), bar)
    result = audit_of(compared, tolerance)
    if as_json:
        json_line(_as_json(result, address, about, reference))
    else:
        _print(result, _named(address, about), reference)
    return 1 if result.verdict in ("bug", "failed") else 0


def _prompts(chosen: dict[str, Any]) -> list[Prompt]:
    """The prompts to ask, task by task in turn; takes their options out of `chosen`."""
    from spectui.prompts import interleave

    request = Request.taken_from(chosen)
    if request.per_task is None and request.prompts is None:
        request = Request(request.tasks, PER_TASK, None, None)
    return interleave(request.read_prompts(study=False, tell=lambda note: line(note, err=True)))


def _look_at(address: str, key_env: str, model: str) -> None:
    """Raise `ServerError` or `UsageError` where a server does not answer, or lacks the model."""
    from spectui.servers.client import Client
    from spectui.servers.kinds import choose_model, recognise

    with Client(address, key_env) as client:
        choose_model(recognise(client), model, address)


def _ask(
    address: str, key_env: str, model: str, prompts: Sequence[Prompt], most: int, bar: Bar
) -> tuple[list[Output], Recognised]:
    """The server's outputs, and the server. Raises `ServerError` where it gives not even the first."""
    from spectui.prompts.chat import USER, objects
    from spectui.servers.audit.outputs import Output, ask
    from spectui.servers.client import Bounds, Client
    from spectui.servers.errors import ServerError
    from spectui.servers.kinds import choose_model, recognise

    outputs: list[Output] = []
    failures = 0
    with Client(address, key_env, Bounds.of_tokens(most, streamed=False)) as client:
        about = recognise(client)
        name = choose_model(about, model, address)
        for done, prompt in enumerate(prompts):
            bar(f"asking {address}", done, len(prompts), "prompts")
            messages = (
                [{"role": USER, "content": prompt.text}]
                if prompt.messages is None
                else objects(prompt.messages)
            )
            try:
                outputs.append(ask(client, name, messages, most))
            except ServerError as error:
                if not outputs:
                    raise
                outputs.append(Output((), None, str(error)))
                failures += 1
                if error.everywhere or failures == MOST_FAILURES:
                    rest = len(prompts) - len(outputs)
                    outputs += [Output((), None, f"not asked, after: {error}")] * rest
                    break
            else:
                failures = 0
    return outputs, about


def _judged_here(
    prompts: Sequence[Prompt], outputs: Sequence[Output], config: dict[str, Any], bar: Bar
) -> tuple[list[Compared], str]:
    """The outputs judged by the target here, and the words for it."""
    from spectui.servers.audit.local import judge

    types: list[str] = []
    compared = []
    bar("loading the target", 0, 0, "")
    for each in judge(prompts, outputs, config, types.append):
        compared.append(each)
        bar("judging outputs", len(compared), len(prompts), "prompts")
    target = str(config.get("target", "embedded"))
    return compared, f"the target here ({target}, {types[0]}), at every token"


def _beside(
    prompts: Sequence[Prompt], outputs: Sequence[Output], other: tuple[str, str, str, int], bar: Bar
) -> tuple[list[Compared], str]:
    """The outputs beside those of another server, and the words for it."""
    from spectui.servers.audit.verdict import compare
    from spectui.servers.client import Client
    from spectui.servers.kinds import recognise, speculates

    address, key_env, model, most = other
    references, about = _ask(address, key_env, model, prompts, most, bar)
    compared = [
        compare(prompt.id, prompt.task, output, reference)
        for prompt, output, reference in zip(prompts, outputs, references, strict=True)
    ]
    with Client(address, key_env) as client:
        too = ", which speculates, too" if speculates(client, recognise(client)) else ""
    return compared, f"{_named(address, about)}{too}"


def _named(address: str, about: Recognised) -> str:
    """A server with its kind and version, for people."""
    return f"{address} ({f'{about.kind} {about.version}'.strip()})"


def _print(result: Audit, server: str, reference: str) -> None:
    prose(f"{server} against {reference}")
    line()
    tasks = list(dict.fromkeys(each.task for each in result.compared))
    used = [name for name in TITLES if result.counts.get(name) or name in ("identical", "tie", "bug")]
    rows = []
    for task in [*tasks, "all"] if len(tasks) > 1 else tasks:
        members = [each for each in result.compared if task in (each.task, "all")]
        verdicts = [result.verdict_on(each) for each in members]
        cells = [count(verdicts.count(name)) for name in used]
        rows.append(
            (task, count(len(members)), count(sum(each.tokens for each in members)), *cells, _most(members))
        )
    table(("task", "outputs", "tokens", *(TITLES[name] for name in used), "largest margin"), rows)
    line()
    parted = [each for each in result.compared if each.partings or each.failure]
    parted.sort(key=lambda each: -max((parting.margin or 0.0 for parting in each.partings), default=0.0))
    for each in parted[:SHOWN]:
        prose(_sentence(each, result.verdict_on(each)))
    if len(parted) > SHOWN:
        line(f"and {len(parted) - SHOWN} more; --json has all")
    if any(each.partings for each in parted):
        prose(f"Margins up to {result.limit:.2g} nats are rounding here, {result.limit_from}.")
    number, failed = len(result.compared), result.counts.get("failed", 0)
    on = f" on {count(number - failed)} of {count(number)} outputs" if failed else ""
    prose(f"Verdict{on}: {WORDS[result.verdict]}")


def _sentence(each: Compared, verdict: str) -> str:
    if each.failure:
        return f"{each.prompt_id}: not compared: {each.failure}"
    first = each.partings[0]
    words = f"{each.prompt_id}: {_words(first, each.tokens)}"
    if len(each.partings) > 1:
        worst = max(each.partings, key=lambda parting: parting.margin or 0.0)
        further = "" if worst is first else f", at worst {_words(worst, each.tokens)}"
        words += f"; {len(each.partings)} such tokens{further}"
    return f"{words}: {'a tie' if verdict == 'tie' else verdict}"


def _words(parting: Parting, tokens: int) -> str:
    margin = "margin not known"
    if parting.margin is not None:
        margin = f"margin {'over ' if parting.at_least else ''}{parting.margin:.2g} nats"
    return f"token {parting.place + 1} of {tokens} is {parting.token} where the choice is {parting.choice}, {margin}"


def _most(members: Sequence[Compared]) -> str:
    margins = [parting.margin for each in members for parting in each.partings if parting.margin is not None]
    return f"{max(margins):.2g}" if margins else NOTHING


def _as_json(result: Audit, address: str, about: Recognised, reference: str) -> dict[str, Any]:
    return {
        "server": {"url": address, "kind": about.kind, "version": about.version},
        "against": reference,
        "verdict": result.verdict,
        "counts": dict(result.counts),
        "limit_nats": result.limit,
        "limit_from": result.limit_from,
        "outputs": [
            {
                "prompt": each.prompt_id,
                "task": each.task,
                "tokens": each.tokens,
                "verdict": result.verdict_on(each),
                "failure": each.failure or None,
                "partings": [
                    {
                        "place": parting.place,
                        "token": parting.token,
                        "choice": parting.choice,
                        "margin_nats": parting.margin,
                        "at_least": parting.at_least,
                    }
                    for parting in each.partings
                ],
            }
            for each in result.compared
        ],
    }
