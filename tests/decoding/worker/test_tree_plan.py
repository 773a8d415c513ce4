"""Protects: a run with a tree for each task decodes as plain decoding does, and its rounds say which they had."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from spectui.decoding.trees.advise.positions import positions_of, read_rounds
from spectui.decoding.trees.plan_file import Identity, TreePlan, save_plan
from spectui.store.database import connect
from spectui.store.reading.choices import choices
from tests.decoding.worker.workers import TEXTS, Worked, make_model


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("auto") / "tiny"
    make_model(folder)
    return folder


def test_a_plan_file_is_followed_and_one_for_others_refused(tmp_path: Path, model: Path) -> None:
    """Each task has its tree, which changes no token."""
    (tmp_path / "cache").mkdir()
    own, others = tmp_path / "own.json", tmp_path / "others.json"
    save_plan(TreePlan(Identity("tiny", "recycling", ""), {"code": "recycling:4"}, "chain:1"), own)
    save_plan(TreePlan(Identity("Llama", "recycling", ""), {}, "chain:1"), others)
    plain = Worked(tmp_path, model, "plain", speculate=False)
    followed = Worked(tmp_path, model, "followed", tree=f"auto:{own}")
    refused = Worked(tmp_path, model, "refused", tree=f"auto:{others}")
    forced = Worked(tmp_path, model, "forced", tree=f"auto:{others}", force_budget=True)
    sessions = (plain, followed, refused, forced)
    try:
        for session in sessions:
            session.work(SPECTUI_CACHE=str(tmp_path / "cache"))
            session.ended()
        assert followed.outputs() == forced.outputs() == plain.outputs()
        assert followed.problems() == []
        chosen = {choice.id: choice for choice in choices(followed.reader, followed.id)}
        trees = {choice.task: choice.tree for choice in chosen.values()}
        assert trees == {task: "recycling:4" if task == "code" else "chain:1" for task, _ in TEXTS}
        for prompt in followed.reader.generations(followed.id):
            rounds = followed.reader.rounds(prompt.id)
            assert {chosen[row.choice_id].task for row in rounds if row.choice_id} == {prompt.task}
            assert all(row.choice_id for row in rounds)
        positions = positions_of(read_rounds(followed.reader, followed.id))
        alive = positions.offset < positions.rounds.length[positions.prompt]
        assert int(alive.sum()) == followed.now().tokens
        assert refused.now().status == "failed"
        assert "is of another run: the target was Llama and is tiny" in str(refused.now().error)
        assert forced.now().status == "finished"
        assert "forced" in {event.kind for event in forced.reader.events(forced.id)}
    finally:
        for session in sessions:
            session.close()


def test_a_session_whose_trees_were_chosen_on_the_way_goes_on_with_one(tmp_path: Path, model: Path) -> None:
    """Earlier versions recorded such; it is still one of several trees, and is compared as one."""
    session = Worked(tmp_path, model, "auto", tree="auto")
    try:
        session.work(stop_after=2)
        assert session.ended() == 0, session.log_text()
        assert session.now().tree == "recycling:8"
        earlier = {**session.now().config, "tree": "auto"}
        with connect(session.database) as db:
            db.execute("UPDATE session SET tree = 'auto', config = ?", (json.dumps(earlier),))
        session.work()
        assert session.ended() == 0, session.log_text()
        now = session.now()
        assert (now.status, now.tree, now.config["tree"]) == ("finished", "auto", "recycling:8")
    finally:
        session.close()
