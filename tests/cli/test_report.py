"""Protects `report` and `compare` as commands: the documented keys, the files, and sessions that lack something."""

from __future__ import annotations

import csv
import json
import random
import re
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from spectui.store.database import open_database
from spectui.store.writing.writer import SessionWriter
from tests.cli.conftest import Invoke
from tests.store.samples import FULL_3X2, make_round, make_session, random_path

ALPHAS = {"overlap", "match", "rank1_match", "at_risk"}
PREDICTORS = {"task", "depth", "rank", "draft_entropy", "draft_p"}
GROUP = {
    "prompts", "rounds", "nodes", "alpha", "expected_length_formula", "accepted_length", "tokens_per_round",
    "hazard", "survival", "draft_entropy", "target_entropy", "rho",
}  # fmt: skip


def add(
    database: Path,
    name: str,
    tasks: tuple[str, ...] = ("code", "math") * 3,
    *,
    done: int | None = None,
    drafted: bool = True,
    status: str | None = "finished",
    parents: tuple[int | None, ...] = FULL_3X2,
) -> None:
    """A session with eight rounds of each of the first `done` prompts."""
    db = open_database(database)
    writer = SessionWriter(db, make_session(db, tasks, name=name))
    writer.claim()
    writer.set_status("running")
    for generation in writer.pending_generations()[:done]:
        rng = random.Random(generation.position)
        writer.start_generation(generation.id, 10)
        prefix = 10
        for number in range(1, 9):
            path = random_path(parents, rng)
            writer.record_round(
                generation.id,
                make_round(number, parents=parents, path=path, prefix_length=prefix, seed=generation.position,
                           drafted=drafted),
            )  # fmt: skip
            prefix += len(path) + 1
        writer.finish_generation(generation.id, "finished", output="done", finish_reason="eos")
    if status:
        writer.set_status(status)
    db.close()


def report(invoke: Invoke, *arguments: str) -> dict[str, Any]:
    result = invoke("report", *arguments, "--json")
    assert (result.exit_code, result.stderr) == (0, "")
    figures: dict[str, Any] = json.loads(result.stdout)
    return figures


def test_json_has_the_documented_keys(invoke: Invoke, database: Path) -> None:
    add(database, "friday", ("code", "math") * 5)
    figures = report(invoke, "friday")
    top = {"session", "tasks", "overall", "predictors", "task_minus_depth", "icc", "design_effect"}
    assert top <= set(figures)
    assert figures["session"] == 1
    assert list(figures["tasks"]) == ["code", "math"]
    for group in (*figures["tasks"].values(), figures["overall"]):
        assert set(group) >= GROUP
        assert set(group["alpha"]) == ALPHAS
        for each in group["alpha"].values():
            assert {"mean", "ci", "token_weighted"} <= set(each)
            assert len(each["ci"]) == 2
        assert {"mean", "ci"} <= set(group["accepted_length"])
        assert len(group["hazard"]) == len(group["survival"]) == 3
        assert set(group["rho"]) == {"match", "overlap"}
        for each in group["rho"].values():
            assert {"per_prompt", "pooled"} <= set(each)
        numbers = ("expected_length_formula", "tokens_per_round", "draft_entropy", "target_entropy")
        assert all(isinstance(group[name], float) for name in numbers)
    assert set(figures["predictors"]) == PREDICTORS
    for each in figures["predictors"].values():
        assert {"mutual_information_bits", "mcfadden_r2", "df", "ci", "null_p"} <= set(each)
    assert {"mcfadden_r2_difference", "ci", "verdict"} <= set(figures["task_minus_depth"])
    assert figures["task_minus_depth"]["verdict"] in ("supported", "not supported", "reversed")
    assert isinstance(figures["icc"], float)
    assert isinstance(figures["design_effect"], float)


def test_the_card_is_the_table_that_model_cards_have(invoke: Invoke, database: Path) -> None:
    """By the field's definitions: what vLLM's counters give, 1 + accepted / drafts and reached / drafts."""
    add(database, "friday", ("code", "math") * 5)
    with closing(sqlite3.connect(database)) as connection:
        lengths = connection.execute(
            "SELECT task, accepted_length FROM round JOIN generation ON generation.id = generation_id"
        ).fetchall()
    head, rule, *rows = (
        line for line in invoke("report", "friday", "--card").stdout.splitlines() if line[:1] == "|"
    )
    assert head == "| subset | acceptance_length | pos_0 | pos_1 | pos_2 |"
    assert set(rule) <= set("|- ")
    subsets = {subset: cells for subset, *cells in (row.strip("| ").split(" | ") for row in rows)}
    assert list(subsets) == ["code", "math", "all"]
    for subset, (length, *positions) in subsets.items():
        accepted = [each for task, each in lengths if subset in (task, "all")]
        assert length.startswith(f"{1 + sum(accepted) / len(accepted):.3f} [")
        for place, cell in enumerate(positions):
            share = sum(each > place for each in accepted) / len(accepted)
            value, low, high = re.fullmatch(r"([\d.]+)% \[([\d.]+), ([\d.]+)\]", cell).groups()  # type: ignore[union-attr]
            assert value == f"{100 * share:.1f}"
            assert float(low) < float(value) < float(high)
    figures = json.loads(invoke("report", "friday", "--card", "--json").stdout)
    for row in figures["rows"]:
        whole = 1 + sum(each["value"] for each in row["positions"])
        assert row["acceptance_length"]["value"] == pytest.approx(whole)
    refused = invoke("report", "friday", "--card", "--svg", "x.svg")
    assert (refused.exit_code, "--card prints one table" in refused.stderr) == (2, True)


def test_a_card_of_no_drafts_says_so(invoke: Invoke, database: Path) -> None:
    add(database, "none", parents=())
    result = invoke("report", "none", "--card")
    assert result.exit_code == 2
    assert "no round with a draft" in result.stderr


def test_what_a_million_tokens_take_is_in_every_form(invoke: Invoke, database: Path, tmp_path: Path) -> None:
    """By task and for all, with speculation and without; seconds alone where there is no price."""
    add(database, "friday")
    figures = report(invoke, "friday")["per_million_tokens"]
    assert list(figures["tasks"]) == ["code", "math", "all"]
    seconds = figures["tasks"]["code"]["speculative"]["seconds"]
    assert seconds > 0.0
    assert figures["tasks"]["code"]["speculative"]["price"] is None
    assert figures["mean_watts"] is None
    priced = report(invoke, "friday", "--price", "3.6")["per_million_tokens"]["tasks"]
    assert priced["code"]["speculative"]["price"] == pytest.approx(seconds / 1000)
    page, folder = tmp_path / "r.html", tmp_path / "csv"
    assert invoke("report", "friday", "--price", "3.6", "--html", page, "--csv", folder).exit_code == 0
    with (folder / "per_million.csv").open(encoding="utf-8", newline="") as file:
        rows = {row["task"]: row for row in csv.DictReader(file)}
    assert float(rows["code"]["seconds"]) == seconds
    assert float(rows["all"]["price"]) == priced["all"]["speculative"]["price"]
    assert "A million tokens take" in page.read_text(encoding="utf-8")
    said = invoke("report", "friday").stdout
    assert "A million tokens take" in said
    assert "--price" in said


def test_without_probabilities_figures_are_null_and_never_zero(invoke: Invoke, database: Path) -> None:
    add(database, "bare", drafted=False)
    figures = report(invoke, "bare")
    for group in (*figures["tasks"].values(), figures["overall"]):
        assert group["alpha"]["overlap"] == {"mean": None, "ci": None, "token_weighted": None}
        assert group["expected_length_formula"] is None
        assert group["draft_entropy"] is None
        assert group["rho"]["match"]["pooled"] is group["rho"]["overlap"]["per_prompt"] is None
        assert group["alpha"]["match"]["mean"] > 0
        assert group["target_entropy"] > 0
    assert figures["predictors"]["draft_p"] is figures["predictors"]["draft_entropy"] is None
    assert figures["predictors"]["depth"]["mcfadden_r2"] > 0
    assert figures["notes"]["overlap, draft entropy"] == "the drafter has no probabilities"
    text = invoke("report", "bare").stdout
    assert "E[L] formula, rank-1 match" in text
    assert "0.000 to 0.000" not in text


@pytest.mark.parametrize(
    ("settings", "present", "said"),
    [
        (
            {"tasks": ("code",)},
            ("Acceptance α", "All nodes by depth"),
            "it takes two prompts; there is one of code",
        ),
        (
            {"tasks": ("code",) * 5},
            ("0.0", "design effect"),
            "cannot be judged: all nodes have the same task",
        ),
        (
            {"done": 3, "status": None},
            ("Accepted length",),
            "session: it is running: these are the figures so far",
        ),
        (
            {"done": 4, "status": "interrupted"},
            ("Accepted length",),
            "it is interrupted with 4 of 6 prompts done",
        ),
        ({"done": 0, "status": "failed"}, (), "everything: no round has been recorded yet"),
        ({"parents": (None,)}, ("Acceptance α",), "cannot be judged: all nodes have the same depth"),
    ],
    ids=["one prompt", "one task", "running", "interrupted", "empty", "chains of one"],
)
def test_what_can_be_computed_is_and_the_rest_says_why(
    invoke: Invoke,
    database: Path,
    tmp_path: Path,
    settings: dict[str, Any],
    present: tuple[str, ...],
    said: str,
) -> None:
    add(database, "lame", **settings)
    result = invoke("report", "lame")
    assert (result.exit_code, result.stderr) == (0, "")
    assert said in result.stdout
    assert all(each in result.stdout for each in present)
    json.dumps(report(invoke, "lame"), allow_nan=False)
    page, charts = tmp_path / "r.html", tmp_path / "r.svg"
    written = invoke("report", "lame", "--html", page, "--svg", charts, "--csv", tmp_path / "c")
    assert (written.exit_code, written.stderr) == (0, "")
    assert said in page.read_text(encoding="utf-8")
    ElementTree.parse(charts)


def test_an_unknown_session_names_the_closest(invoke: Invoke, database: Path) -> None:
    add(database, "friday-study", ("code",))
    add(database, "monday", ("code",))
    for arguments in (["report", "fridaystudy"], ["compare", "fridaystudy", "monday"], ["report", "99"]):
        result = invoke(*arguments)
        assert result.exit_code == 2
        assert result.stdout == ""
        assert result.stderr.count("\n") == 1
        assert "did you mean" in result.stderr
    assert "friday-study" in invoke("report", "fridaystudy").stderr


def test_files_hold_the_same_numbers_and_nothing_foreign(
    invoke: Invoke, database: Path, tmp_path: Path
) -> None:
    """CSV in full, a page without scripts or addresses, both closed to what a task's name may hold."""
    evil = "<script>alert(1)</script>"
    add(database, "friday", ("code", evil, "=1+1") * 2)
    figures = report(invoke, "friday")
    page, charts, folder = tmp_path / "r.html", tmp_path / "r.svg", tmp_path / "csv"
    done = invoke("report", "friday", "--html", page, "--svg", charts, "--csv", folder)
    assert done.exit_code == 0, done.stderr
    with (folder / "alpha.csv").open(encoding="utf-8", newline="") as file:
        rows = {(row["task"], row["definition"]): row for row in csv.DictReader(file)}
    row, alpha = rows["code", "overlap"], figures["tasks"]["code"]["alpha"]["overlap"]
    assert float(row["mean"]) == alpha["mean"]
    assert [float(row["ci_low"]), float(row["ci_high"])] == alpha["ci"]
    assert ("'=1+1", "match") in rows
    html = page.read_text(encoding="utf-8")
    assert "<script" not in html
    assert "&lt;script&gt;" in html
    assert re.findall(r"(?:src|href)=", html) == []
    assert set(re.findall(r"https?://[^\"' <)]+", html)) == {"http://www.w3.org/2000/svg"}
    assert "prefers-color-scheme: dark" in html
    assert f"{alpha['mean']:.3f}" in html
    assert figures["task_minus_depth"]["sentence"][:40] in html
    drawn = ElementTree.parse(charts).getroot()
    assert len(drawn.findall(".//{http://www.w3.org/2000/svg}circle")) > 20


def test_compare_pairs_the_same_prompts(invoke: Invoke, database: Path) -> None:
    add(database, "a")
    add(database, "b", drafted=False)
    add(database, "c", ("law",) * 3)
    figures = json.loads(invoke("compare", "a", "b", "--json").stdout)
    overall = figures["overall"]
    assert overall["paired"] is True
    assert overall["prompts"] == [6, 6]
    match = overall["figures"]["match"]
    assert match["difference"]["mean"] == pytest.approx(match["b"]["mean"] - match["a"]["mean"])
    assert overall["figures"]["overlap"]["b"]["mean"] is None
    assert overall["figures"]["overlap"]["difference"] == {"mean": None, "ci": None}
    apart = json.loads(invoke("compare", "a", "c", "--json").stdout)
    assert apart["overall"]["paired"] is False
    assert apart["tasks"] == {}
    text = invoke("compare", "a", "b").stdout
    assert "6 prompts of both" in text
    assert "both are the same" in invoke("compare", "a", "a").stdout
