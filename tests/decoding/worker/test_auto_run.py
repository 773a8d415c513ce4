"""Protects: a run with a tree for each task decodes as plain decoding does, and its rounds say which they had."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from spectui.decoding.trees.advise.positions import read_rounds, walks_of
from spectui.decoding.trees.plan_file import Identity, TreePlan, save_plan
from spectui.store.reading.choices import budgets, choices
from tests.decoding.worker.workers import TEXTS, Worked, make_model


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("auto") / "tiny"
    make_model(folder)
    return folder


def test_learning_on_the_way_changes_no_token(tmp_path: Path, model: Path) -> None:
    (tmp_path / "cache").mkdir()
    plain = Worked(tmp_path, model, "plain", speculate=False)
    auto = Worked(tmp_path, model, "auto", tree="auto", draft=str(model))
    recycled = Worked(tmp_path, model, "recycled", tree="auto")
    try:
        for session in (plain, auto, recycled):
            session.work(SPECTUI_CACHE=str(tmp_path / "cache"))
            assert session.ended() == 0, session.said()
        assert auto.outputs() == recycled.outputs() == plain.outputs()
        for session in (auto, recycled):
            found = choices(session.reader, session.id)
            assert {choice.task for choice in found} == {task for task, _ in TEXTS}
            assert set(budgets(found)) == {task for task, _ in TEXTS}
            known = {choice.id for choice in found}
            for generation in session.reader.generations(session.id):
                assert {row.choice_id for row in session.reader.rounds(generation.id)} <= known
            assert session.problems() == []
            assert session.now().tree == "auto"
            assert session.now().costs is not None
        walks = walks_of(read_rounds(auto.reader, auto.id))
        alive = walks.place < walks.rounds.length[walks.prompt]
        assert int(alive.sum()) == auto.now().tokens
    finally:
        for session in (plain, auto, recycled):
            session.close()


def test_a_plan_file_is_followed_and_one_for_others_refused(tmp_path: Path, model: Path) -> None:
    (tmp_path / "cache").mkdir()
    mine, others = tmp_path / "mine.json", tmp_path / "others.json"
    save_plan(TreePlan(Identity("tiny", "recycling", ""), {"code": "recycling:4"}, "chain:1"), mine)
    save_plan(TreePlan(Identity("Llama", "recycling", ""), {}, "chain:1"), others)
    followed = Worked(tmp_path, model, "followed", tree=f"auto:{mine}")
    refused = Worked(tmp_path, model, "refused", tree=f"auto:{others}")
    forced = Worked(tmp_path, model, "forced", tree=f"auto:{others}", force_budget=True)
    try:
        for session in (followed, refused, forced):
            session.work(SPECTUI_CACHE=str(tmp_path / "cache"))
            session.ended()
        trees = {c.task: c.tree for c in choices(followed.reader, followed.id)}
        assert trees == {task: "recycling:4" if task == "code" else "chain:1" for task, _ in TEXTS}
        assert refused.now().status == "failed"
        assert "is of another run: the target was Llama and is tiny" in str(refused.now().error)
        assert forced.now().status == "finished"
        assert "forced" in {event.kind for event in forced.reader.events(forced.id)}
        assert json.loads(mine.read_text())["version"] == 1
    finally:
        for session in (followed, refused, forced):
            session.close()
