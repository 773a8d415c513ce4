"""Tables of ``spectui bench --drafters``, from its figures, and the names of arms. Torch-free."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from textwrap import wrap
from typing import Any

from spectui.decoding.checkpoints.embedded import EMBEDDED
from spectui.decoding.config import EMBEDDED_TARGET

PLAIN, GREEDY, PROMPT_LOOKUP, ASSISTED = "plain", "greedy", "prompt_lookup", "assisted:"
"""Names of the arms that drafters are compared with; behind `ASSISTED` stands the draft model."""

RATIOS = {
    "ratio_vs_own_plain": "x own plain",
    "ratio_vs_greedy": "x transformers",
    "ratio_vs_prompt_lookup": "x its lookup",
    "ratio_vs_assisted": "x its assisted",
}
"""Speed over another arm, by key, and the heading of its column."""

_BASELINES = {PLAIN: "own plain loop", GREEDY: "transformers", PROMPT_LOOKUP: "  prompt lookup"}

NAME_WIDTH = 19
RATIO_WIDTH = 15
LINE_WIDTH = 120
DEPTHS = 4
"""Depths of which the table shows acceptance; the JSON has all."""


def table(figures: dict[str, Any]) -> str:
    """The figures for people: all prompts, then each task; at most 120 columns."""
    names = labels([*figures["drafters"], *figures["baselines"]])
    lines = [
        f"{target_name(figures['target'])}, {figures['prompts']} prompts, at most "
        f"{figures['max_new_tokens']} new tokens",
        "x: ratio of tokens/s within a prompt, median over prompts, 95 % interval; draft, verify: median ms a round;",
        "accepted: share of the rounds that could go on to a depth which did",
    ]
    lines += _scope(f"all ({figures['prompts']})", figures, names, lambda arm: arm)
    for task, count in figures["tasks"].items():
        lines += _scope(f"{task} ({count})", figures, names, lambda arm, task=task: arm["tasks"][task])  # type: ignore[misc]
    lines.append("")
    lines += [
        f"{names[name]} is {each['ratio']:.2f} times as fast as {names[each['over']]}"
        f"{_between(each['interval'])}, prompt by prompt"
        for name, each in figures.get("paired", {}).items()
    ]
    for name, arm in figures["drafters"].items():
        if arm["tree_chosen"]:
            lines += wrap(f"{names[name]}: tree {arm['tree']}", LINE_WIDTH, subsequent_indent="  ")
    lines.append(
        f"every output is that of generate on {figures['identical_prompts']} of {figures['prompts']} prompts"
    )
    lines += [
        f"  {d['prompt']}: {names[d['arm']].strip()} differs at token {d['position']}, margin {d['margin']:.1e}"
        for d in figures["divergences"]
    ]
    return "\n".join(lines)


def target_name(target: str) -> str:
    """A target's name for people."""
    return EMBEDDED.name if target == EMBEDDED_TARGET else Path(target).name


def labels(arms: Sequence[str]) -> dict[str, str]:
    """Names for people, by arm: of a model's path the last part, or as many parts as tell the arms apart."""
    longest = max((len(Path(part).parts) for arm in arms for part in arm.split("@")), default=1)
    for parts in range(1, longest + 1):
        names = {arm: _label(arm, parts) for arm in arms}
        if len(set(names.values())) == len(names):
            break
    return names


def _label(arm: str, parts: int) -> str:
    def tail(path: str) -> str:
        return str(Path(*Path(path).parts[-parts:])) if path else ""

    if arm.startswith(ASSISTED):
        return f"  assisted {tail(arm.removeprefix(ASSISTED))}"
    return _BASELINES.get(arm) or "@".join(tail(part) for part in arm.split("@"))


def _scope(
    title: str,
    figures: dict[str, Any],
    names: dict[str, str],
    of: Callable[[dict[str, Any]], dict[str, Any]],
) -> list[str]:
    """The table of all prompts or of one task, `of` being where an arm keeps its figures."""
    arms = {name: of(arm) for name, arm in (figures["drafters"] | figures["baselines"]).items()}
    shown = [key for key in RATIOS if any(arm[key] is not None for arm in arms.values())]
    depths = "".join(f"{depth:4}" for depth in range(1, DEPTHS + 1))
    columns = "".join(f"{RATIOS[key]:>{RATIO_WIDTH}}" for key in shown)
    above = f"{'tok/':>{NAME_WIDTH + 6}}  {'accepted at':14}"
    return [
        "",
        above.rstrip(),
        f"{title:{NAME_WIDTH}.{NAME_WIDTH}} round{depths} draft verify tok/s{columns}",
        *(_row(names[name], arm, shown) for name, arm in arms.items()),
    ]


def _row(name: str, arm: dict[str, Any], shown: Sequence[str]) -> str:
    if len(name) > NAME_WIDTH:  # paths differ in their last parts
        name = f"…{name[1 - NAME_WIDTH :]}" if "/" in name else f"{name[: NAME_WIDTH - 1]}…"
    accepted = [*arm["acceptance"], *[None] * DEPTHS][:DEPTHS]
    cells = "".join(f"{_share(share):>4}" for share in accepted)
    ratios = "".join(f"{_ratio(arm[key], arm['interval'].get(key)):>{RATIO_WIDTH}}" for key in shown)
    return (
        f"{name:{NAME_WIDTH}} {_number(arm['tokens_per_round']):>5}{cells} {_number(arm['draft_ms']):>5} "
        f"{_number(arm['verify_ms']):>6} {_number(arm['tokens_per_second']):>5}{ratios}"
    ).rstrip()


def _number(value: float | None) -> str:
    """At most five characters."""
    if value is None:
        return ""
    return f"{value:.{2 if value < 10 else 1 if value < 1000 else 0}f}"


def _share(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}".removeprefix("0") if value < 0.995 else "1.0"


def _ratio(value: float | None, interval: Sequence[float] | None) -> str:
    if value is None:
        return ""
    if interval is None:
        return _number(value)
    low, high = (f"{q:.3g}" if q >= 10 else f"{q:.2f}" for q in interval)
    return f"{_number(value)} {low}-{high}"


def _between(interval: Sequence[float] | None) -> str:
    return "" if interval is None else f" [{interval[0]:.2f}, {interval[1]:.2f}]"
