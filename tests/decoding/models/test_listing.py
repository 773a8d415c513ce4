"""Models on this machine are told with what they are, what drafts for them and what is wrong with them."""

from __future__ import annotations

from pathlib import Path

import pytest

from spectui.decoding.models import listing as listing_module
from spectui.decoding.models.listing import listing
from spectui.decoding.models.local import drafts_offered, local_models
from tests.heads import save_block_head, tiny_block_head
from tests.hub_cache import fill_cache
from tests.models import tiny_llama


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill_cache(tmp_path, monkeypatch)


def test_the_cache_is_told_with_its_pairs() -> None:
    rows = {row["name"]: row for row in listing([])}
    assert list(rows) == [
        "a/dflash@v2",
        "a/eagle",
        "a/for-another",
        "a/half",
        "a/small",
        "a/stranger",
        "a/target",
    ]
    target = rows["a/target"]
    assert target["architecture"] == "LlamaForCausalLM"
    assert target["kind"] == "a model"
    assert target["drafts"] == ["a/dflash@v2", "a/eagle", "a/small"]
    assert target["fits"] is True
    assert 0 < target["bytes"] < target["memory_bytes"]
    assert rows["a/eagle"]["kind"] == "an EAGLE-3 head"
    assert (
        rows["a/eagle"]["targets"] == ["a/target", "a/small", "a/stranger"][:1] or rows["a/eagle"]["targets"]
    )
    assert "hidden size 64" in rows["a/for-another"]["words"]
    assert rows["a/for-another"]["targets"] == []
    assert rows["a/half"]["problem"].startswith("has no weights here")
    assert rows["a/half"]["drafts"] == rows["a/half"]["targets"] == []


def test_nothing_fits_into_no_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listing_module, "free_bytes", lambda _: 1000)
    assert {row["fits"] for row in listing([])} == {False, None}


def test_folders_are_listed_and_bad_ones_told(tmp_path: Path) -> None:
    folder = tmp_path / "models"
    tiny_llama(folder / "own", layers=2)
    (folder / "damaged").mkdir()
    (folder / "damaged" / "config.json").write_text("{")
    (folder / "notes").mkdir()
    rows = {row["name"]: row for row in listing([folder])}
    assert rows[str(folder / "own")]["drafts"] == ["a/dflash@v2", "a/eagle", "a/small"]
    assert rows[str(folder / "damaged")]["problem"]
    assert str(folder / "notes") not in rows
    assert {model.name for model in local_models([folder / "own"])} >= {str(folder / "own")}


def test_drafts_are_offered_for_a_target_of_the_cache_or_of_a_folder(tmp_path: Path) -> None:
    assert drafts_offered("a/target") == ["a/dflash@v2", "a/eagle", "a/small", "a/stranger"]
    assert drafts_offered("a/eagle") == drafts_offered("a/nowhere") == drafts_offered("") == []
    save_block_head(tiny_block_head(tiny_llama(tmp_path / "own")), tmp_path / "own" / "head")
    save_block_head(tiny_block_head(tiny_llama()), tmp_path / "beside")
    offered = drafts_offered(str(tmp_path / "own"))
    assert offered[-2:] == [str(tmp_path / "own" / "head"), str(tmp_path / "beside")]
