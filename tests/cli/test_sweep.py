"""Protects `spectui sweep`: a session a combination, none lost or done twice whatever is killed, faults in a line."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

from spectui.decoding.worker import launch
from spectui.store.care.check import check
from spectui.store.database import connect
from spectui.store.reading.reader import Reader
from tests.decoding.worker.workers import Forked, forked, make_model
from tests.waiting import until

pytestmark = pytest.mark.usefixtures("workers")
Invoke = Callable[..., Result]
SWEEP = """
drafters = ["recycling", "lookup"]
trees = ["chain:2", "full:2x2"]
tasks = ["rag", "code"]

[run]
target = "{target}"
prompts = "{prompts}"
max-new-tokens = 24
"""


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sweep") / "target"
    make_model(folder, endless=True)
    return folder


@pytest.fixture
def file(tmp_path: Path, model: Path) -> Path:
    """Of two drafters and two tasks with two prompts each; the lookup cannot draft one of the trees."""
    prompts = tmp_path / "mine.jsonl"
    lines = [{"task": task, "prompt": f"{task} {i}"} for task in ("rag", "code") for i in range(2)]
    prompts.write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    path = tmp_path / "night.toml"
    path.write_text(SWEEP.format(target=model, prompts=prompts), encoding="utf-8")
    return path


def rounds_of(database: Path) -> dict[str, Any]:
    """Cell -> the rounds of its session with their trees, but for ids and times."""
    with Reader(database) as reader:
        return {
            str(summary.cell): [
                [(r.number, r.accepted_length, r.bonus_token_id, r.nodes) for r in reader.rounds(row.id)]
                for row in reader.generations(summary.id)
            ]
            for summary in reader.sessions()
        }


def test_what_is_killed_on_the_way_is_gone_on_with_and_nothing_is_lost_or_done_twice(
    invoke: Invoke, file: Path, database: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = tmp_path / "whole.db"
    done = invoke("sweep", file, "--db", whole)
    assert done.exit_code == 0, done.output
    assert "left out: lookup with full:2x2: tree 'full:2x2' branches" in done.stdout
    assert "[6/6] code: lookup, chain:2, temperature 0" in done.stdout
    assert "sweep night: 6 of 6 sessions, 100 %" in done.stdout

    started = 0

    def start(command: list[str], **options: object) -> Forked:
        """The second worker is killed in the midst of its rounds, and what would be the fourth cannot be started."""
        nonlocal started
        started += 1
        if started == 4:
            raise OSError(12, "Cannot allocate memory")
        worker = forked(command, **options)
        if started == 2:
            with Reader(database) as reader:
                until(lambda: reader.session(2).rounds >= 3, what=lambda: str(reader.session(2)))
            worker.kill()
        return worker

    monkeypatch.setattr(launch, "start", start)
    broken = invoke("sweep", file)
    assert broken.exit_code == 1
    assert (
        "2 sessions did not finish, the first (rag: recycling, full:2x2, temperature 0) with" in broken.stderr
    )
    assert "sweep night: 4 of 6 sessions" in broken.stdout
    listed = invoke("sessions", "ls")
    assert "sweep night: 4 of 6 sessions" in listed.stdout
    again = invoke("sweep", file)
    assert again.exit_code == 0, again.output
    assert again.stdout.count("temperature 0") == 2
    assert rounds_of(database) == rounds_of(whole)
    with closing(connect(database)) as db:
        assert check(db) == []
    assert "unfinished" not in invoke("sweep", file, "--dry-run").stdout
    assert "sweep night" not in invoke("sessions", "ls").stdout

    told = json.loads(invoke("compare", "--sweep", "night", "--json").stdout)
    assert [(each["task"], len(each["candidates"])) for each in told["contests"]] == [("rag", 3), ("code", 3)]
    shown = invoke("compare", "--sweep", "night")
    assert "Best drafter and tree by task" in shown.stdout


def test_a_dry_run_lists_every_session_and_starts_none(invoke: Invoke, file: Path, database: Path) -> None:
    told = json.loads(invoke("sweep", file, "--dry-run", "--json").stdout)
    assert [(c["task"], c["draft"], c["tree"], c["status"]) for c in told["cells"]] == [
        (task, draft, tree, "waiting")
        for task in ("rag", "code")
        for draft, tree in (("recycling", "chain:2"), ("recycling", "full:2x2"), ("lookup", "chain:2"))
    ]
    assert not database.exists()


def test_a_sweep_whose_runs_would_be_others_is_refused(invoke: Invoke, file: Path, database: Path) -> None:
    one = (
        file.read_text(encoding="utf-8")
        .replace('["recycling", "lookup"]', '["lookup"]')
        .replace('"rag", ', "")
    )
    file.write_text(one, encoding="utf-8")
    assert invoke("sweep", file).exit_code == 0
    file.write_text(one.replace("= 24", "= 25"), encoding="utf-8")
    refused = invoke("sweep", file)
    assert (refused.exit_code, refused.stderr.count("\n")) == (2, 1)
    assert "sweep 'night' was begun with other settings (max_new_tokens was 24 and is 25)" in refused.stderr


FAULTS = {
    "drafters = [": "1: ",
    "": "drafters are missing",
    "drafters = []": "1: drafters is empty",
    'drafters = "eagle"': "1: drafters is a list; write it in [ ]",
    "drafters = [1]": "1: drafters is 1; it must be text, in quotes",
    'drafters = ["eagle", "eagle"]': "1: drafters has 'eagle' twice",
    'drafters = ["eagel"]': "1: there is no drafter 'eagel' (did you mean 'eagle'?)",
    'name = "7"\ndrafters = ["eagle"]': "1: a session cannot be named '7'",
    'drafters = ["eagle"]\ntree = ["chain:3"]': "2: there is no setting 'tree'; did you mean 'trees'?",
    'drafters = ["eagle"]\ntrees = ["chian:3"]': "2: tree 'chian:3'",
    'drafters = ["eagle"]\n[trees]\nlookup = ["chain:3"]': "3: [trees] has no setting 'lookup'",
    'drafters = ["eagle"]\ntemperatures = [11]': "2: temperature is 11",
    'drafters = ["eagle"]\ntemperatures = [nan]': "2: temperature is nan",
    'drafters = ["eagle"]\n[run]\ntre = 1': "3: [run] has no setting 'tre'",
    'drafters = ["eagle"]\n[run]\ntree = "chain:3"': "3: 'tree' differs from run to run; set trees above [run]",
    'drafters = ["eagle"]\n[run]\nserver = "http://x"': "3: 'server' does not go with a sweep",
    'drafters = ["eagle"]\n[run]\nmax-new-tokens = 0': "3: max-new-tokens is 0; it must be at least 1",
    'drafters = ["eagle"]\n[run]\nseed = "x"': "3: run.seed is 'x'; it must be a whole number",
    'drafters = ["eagle"]\ntasks = ["cooking"]': "2: there is no bundled task 'cooking'",
    'drafters = ["eagle", ""]': "1: drafters has an empty text",
    'drafters = ["eagle", "./none"]': "1: draft: there is no folder ./none",
    'drafters = ["eagle"]\ntrees = ["auto:./none.json"]': "2: plan file",
    'drafters = ["eagle"]\n[run]\ntarget = "./none"': "3: target: there is no folder ./none",
    'drafters = ["eagle"]\n[run]\nper-task = 0': "3: per-task is 0",
    'drafters = ["eagle"]\n[run]\nprompts = "none.jsonl"': "3: none.jsonl: no such file",
    'drafters = ["lookup"]\ntrees = ["full:2x2"]': "none of its drafters can draft any of its trees",
}


def test_replicas_that_cannot_be_are_refused_before_anything_runs(
    invoke: Invoke, tmp_path: Path, database: Path
) -> None:
    file = tmp_path / "night.toml"
    file.write_text('drafters = ["lookup"]\ntrees = ["chain:2", "chain:3"]', encoding="utf-8")
    done = invoke("sweep", file, "--replicas", "x")
    assert (done.exit_code, done.stderr.count("\n")) == (2, 1), done.output
    assert "--replicas is 'x'" in done.stderr
    assert not database.exists()


@pytest.mark.parametrize("text", FAULTS)
def test_a_fault_of_the_file_is_named_in_a_line(
    invoke: Invoke, tmp_path: Path, database: Path, text: str
) -> None:
    file = tmp_path / "bad.toml"
    file.write_text(text, encoding="utf-8")
    done = invoke("sweep", file)
    assert (done.exit_code, done.stderr.count("\n")) == (2, 1), done.stderr
    assert FAULTS[text] in done.stderr
    assert not database.exists()


def test_a_file_that_is_not_there_is_named(invoke: Invoke, tmp_path: Path) -> None:
    assert f"there is no file {tmp_path / 'none.toml'}" in invoke("sweep", tmp_path / "none.toml").stderr
    assert "name two sessions, or a sweep" in invoke("compare", "1").stderr
