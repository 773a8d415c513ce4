"""`spectui models check` tells what a draft is, and refuses an unfit one in one line with the key or the figure."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from spectui.decoding.config import RunConfig
from spectui.decoding.drafters.registry import MTP
from spectui.decoding.eagle.checkpoint import save_head
from spectui.decoding.errors import DecodingError
from spectui.decoding.models import needs
from spectui.decoding.models.described import unfit_tensor
from spectui.decoding.models.listing import listing
from spectui.decoding.models.loading import load_model
from spectui.decoding.models.placement import Placement
from spectui.decoding.target.sizes import PROVEN
from tests.decoding.drafters.reference_cases import FOLDER, expected, load
from tests.heads import save_block_head, tiny_block_head, tiny_head
from tests.models import tiny_llama, tiny_tokenizer
from tests.tiny_families import tiny_config, tiny_model

Check = Callable[..., tuple[int, str]]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``target`` and ``other``, a model of another vocabulary."""
    folder = tmp_path_factory.mktemp("models")
    tiny_llama(folder / "target", layers=3)
    tiny_llama(folder / "other", layers=1, tokenizer=tiny_tokenizer(extra="quite other words, other merges"))
    return folder


@pytest.fixture
def check(folders: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Check:
    """Run the command with these arguments; exit code, and what it printed, of a refusal one line."""

    def run(*arguments: object) -> tuple[int, str]:
        monkeypatch.setattr("sys.argv", ["check", *map(str, arguments)])
        capsys.readouterr()
        code = needs.main()
        printed = capsys.readouterr()
        if code:
            assert len(printed.err.splitlines()) == 1
        return code, printed.err if code else printed.out

    return run


@pytest.fixture
def head(folders: Path, tmp_path: Path) -> Path:
    """A DFlash head for the target."""
    save_block_head(tiny_block_head(tiny_llama(layers=3)), tmp_path / "head")
    return tmp_path / "head"


def change(folder: Path, **changes: Any) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | changes))


def test_a_head_is_told_by_itself_and_counted_beside_its_target(
    folders: Path, head: Path, check: Check
) -> None:
    code, words = check(head)
    assert code == 0
    assert words.startswith(
        f"{head}: a DFlash head in its authors' layout; for a target of hidden size 32 and 384"
    )
    assert "up to 4 deep (block_size 5)" in words
    code, beside = check(folders / "target", "--draft", head)
    assert code == 0
    assert beside.splitlines()[0] == words.strip()
    assert beside.splitlines()[2].split()[:2] == ["draft", "head"]


def test_a_head_and_its_target_the_wrong_way_round_are_refused(
    folders: Path, head: Path, check: Check
) -> None:
    code, words = check(head, "--draft", folders / "target")
    assert (code, "is a DFlash head; give it as --draft, and its model here" in words) == (1, True)


def test_a_damaged_configuration_is_told_before_its_tokenizer(
    folders: Path, head: Path, check: Check
) -> None:
    (head / "config.json").write_text("{'block_size': 5}")
    code, words = check(folders / "target", "--draft", head)
    assert code == 1
    assert "has a config.json that is not JSON" in words


def test_a_head_in_shards_is_counted_whole(folders: Path, head: Path, check: Check) -> None:
    def counted() -> int:
        code, words = check(folders / "target", "--draft", head, "--json")
        assert code == 0
        return int(json.loads(words)["needs"]["draft head"]["weights"])

    whole = counted()
    tensors = load_file(head / "model.safetensors")
    (head / "model.safetensors").unlink()
    files = {name: f"model-0000{i % 2 + 1}-of-00002.safetensors" for i, name in enumerate(tensors)}
    for file in set(files.values()):
        save_file({name: tensors[name] for name in tensors if files[name] == file}, head / file)
    (head / "model.safetensors.index.json").write_text(json.dumps({"weight_map": files}))
    assert counted() == whole == sum(4 * tensor.numel() for tensor in tensors.values())


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        (
            {"block_size": 4, "dflash_config": {"block_size": 8, "mask_token_id": 1}},
            "block_size = 4 and in its",
        ),
        ({"dflash_config": {"mask_token_id": 384, "target_layer_ids": [0]}}, "mask_token_id = 384"),
        ({"dflash_config": {"mask_token_id": 3, "target_layer_ids": [7]}}, "target_layer_ids.* 3 layers"),
        ({"hidden_size": 64}, "hidden size 64, and this one has 32"),
        ({"vocab_size": 500}, "vocabulary size 500, and this one has 384"),
        ({"num_target_layers": 36}, "num_target_layers 36, and this one has 3"),
        ({"speculators_model_type": "dflash", "speculators_version": "1.2"}, "speculators_version 1.2"),
    ],
)
def test_an_unfit_head_is_refused_by_its_key(
    folders: Path, head: Path, check: Check, changes: dict[str, Any], says: str
) -> None:
    change(head, **changes)
    code, words = check(folders / "target", "--draft", head)
    assert code == 1
    assert re.search(says, words), words


def test_half_a_head_and_pickles_are_refused_before_a_run(folders: Path, head: Path, check: Check) -> None:
    weights = head / "model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[: len(whole) // 2])
    for arguments in ((head,), (folders / "target", "--draft", head)):
        code, words = check(*arguments)
        assert (code, "was cut" in words) == (1, True)
    weights.write_bytes(whole)
    torch.save(load_file(weights), head / "pytorch_model.bin")
    weights.unlink()
    code, words = check(folders / "target", "--draft", head)
    assert (code, "--allow-pickle" in words) == (1, True)
    assert check(folders / "target", "--draft", head, "--allow-pickle")[0] == 0
    (head / "pytorch_model.bin").unlink()
    assert check(folders / "target", "--draft", head)[0] == 1
    index = {"weight_map": {"fc.weight": "model-00001-of-00002.safetensors"}}
    (head / "model.safetensors.index.json").write_text(json.dumps(index))
    assert "model-00001-of-00002.safetensors is missing" in check(head)[1]


HEADS = sorted(
    folder.name
    for folder in FOLDER.iterdir()
    if folder.is_dir() and not folder.name.startswith(("target", "pard", "mtp-qwen3next"))
)
"""Checkpoints of heads and MTP modules, but for one whose target no run takes."""


def _drop(tensors: dict[str, torch.Tensor], name: str) -> None:
    del tensors[name]


def _widen(tensors: dict[str, torch.Tensor], name: str) -> None:
    tensors[name] = torch.cat([tensors[name]] * 2, dim=-1)


def _add(tensors: dict[str, torch.Tensor], name: str) -> None:
    tensors[name.replace("layernorm", "stranger")] = tensors[name].clone()


def _spoil(tensors: dict[str, torch.Tensor], name: str) -> None:
    tensors[name] = torch.full_like(tensors[name], float("nan"))


@pytest.mark.parametrize("damage", [_drop, _widen, _add, _spoil])
@pytest.mark.parametrize("name", HEADS)
def test_tensors_that_its_configuration_does_not_mean_are_refused_as_a_run_refuses_them(
    tmp_path: Path, name: str, damage: Callable[[dict[str, torch.Tensor], str], None]
) -> None:
    """They were counted as if they fitted."""
    folder = tmp_path / "draft"
    shutil.copytree(FOLDER / name, folder)
    inside = name.startswith("mtp")
    config = RunConfig(
        target=str(folder if inside else FOLDER / expected(name)["target"]),
        draft="mtp" if inside else str(folder),
    )
    needs.check_head_tensors(config, lambda *_: None, "float32")
    tensors = load_file(folder / "model.safetensors")
    part = r"(mtp_layers\.0|layers\.\d)\..*post_attention_layernorm\.weight"
    damage(tensors, max(stored for stored in tensors if re.search(part, stored)))
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(DecodingError) as of_a_run:
        load(name, folder, MTP if inside else None)
    with pytest.raises(DecodingError) as of_a_check:
        needs.check_head_tensors(config, lambda *_: None, "float32")
    assert str(of_a_check.value) == str(of_a_run.value)


def test_a_head_without_a_tensor_is_refused_before_a_run(folders: Path, head: Path, check: Check) -> None:
    tensors = load_file(head / "model.safetensors")
    del tensors["fc.weight"]
    save_file(tensors, head / "model.safetensors")
    code, words = check(folders / "target", "--draft", head)
    assert (code, "lacks the tensor 'fc.weight' (1 missing in all)" in words) == (1, True)
    assert check(folders / "target", "--draft", head, "--from-config")[0] == 0


def test_an_embedding_that_is_no_numbers_is_no_copy_of_the_targets(
    folders: Path, head: Path, check: Check
) -> None:
    tensors = load_file(head / "model.safetensors")
    tensors["embed_tokens.weight"] = torch.full((384, 32), float("nan"))
    save_file(tensors, head / "model.safetensors")
    code, words = check(folders / "target", "--draft", head)
    assert (code, "values in 'embed_tokens.weight' that are no numbers" in words) == (1, True)


def test_an_eagle_head_is_told_with_its_target(tmp_path: Path, folders: Path, check: Check) -> None:
    save_head(tiny_head(tiny_llama(layers=3)), tmp_path, target_name="target")
    assert "an EAGLE-3 head in the layout of speculators; for 'target'" in check(tmp_path)[1]
    assert check(folders / "target", "--draft", tmp_path)[0] == 0


def test_a_draft_model_of_another_vocabulary_is_refused_with_the_token(folders: Path, check: Check) -> None:
    code, words = check(folders / "target", "--draft", folders / "other")
    assert code == 1
    assert "have different vocabularies: token " in words


@pytest.mark.parametrize(
    ("key", "value"),
    [("text_config", [1]), ("quantization_config", 3), ("dtype", []), ("dtype", {}), ("torch_dtype", 7),
     ("head_dim", float("inf")), ("intermediate_size", float("inf")), ("max_position_embeddings", float("inf"))],
)  # fmt: skip
def test_a_damaged_value_of_a_model_is_refused_by_its_key(
    tmp_path: Path, folders: Path, check: Check, key: str, value: object
) -> None:
    """As a target and as a draft, and in no list does it hide the others."""
    tiny_llama(tmp_path / "model", layers=1)
    change(tmp_path / "model", **{key: value})
    for arguments in ((tmp_path / "model",), (folders / "target", "--draft", tmp_path / "model")):
        code, words = check(*arguments)
        assert (code, key in words) == (1, True)
    problems = {row["name"]: row["problem"] for row in listing([tmp_path])}
    assert key in problems[str(tmp_path / "model")]


@pytest.mark.parametrize(
    ("changes", "dropped", "says"),
    [
        ({"intermediate_size": 48}, None, "'model.layers.0.mlp.gate_proj.weight' of shape [64, 32] where its config"),
        ({"num_hidden_layers": 2}, None, "lacks the tensor 'model.layers.1.input_layernorm.weight' (9 in all)"),
        ({"attention_bias": True}, None, "lacks the tensor 'model.layers.0.self_attn.k_proj.bias' (4 in all)"),
        ({}, "model.norm.weight", "lacks the tensor 'model.norm.weight' (1 in all)"),
    ],
)  # fmt: skip
def test_a_model_whose_tensors_its_configuration_does_not_mean_is_refused_as_a_run_refuses_it(
    tmp_path: Path, folders: Path, check: Check, changes: dict[str, Any], dropped: str | None, says: str
) -> None:
    """Of a size that differs transformers says only that a report above tells more."""
    draft = tmp_path / "draft"
    tiny_llama(draft, layers=1)
    change(draft, **changes)
    tensors = load_file(draft / "model.safetensors")
    tensors.pop(dropped, None)
    save_file(tensors, draft / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(DecodingError) as of_a_run:
        load_model(draft, Placement(torch.device("cpu")), "auto", "", lambda *_: None)
    assert says in str(of_a_run.value)
    for arguments in ((draft,), (folders / "target", "--draft", draft)):
        code, words = check(*arguments)
        assert (code, words.strip()) == (1, f"spectui: {of_a_run.value}")


@pytest.mark.parametrize("draft", ["model", "mtp"])
def test_a_header_of_nonsense_is_refused_in_one_line(
    tmp_path: Path, folders: Path, check: Check, draft: str
) -> None:
    """Of a number type that there is not: as long as it says, so that only reading tells."""
    folder, part = tmp_path / "model", b"model.layers.0.self_attn.q_proj.weight"
    if draft == "mtp":
        shutil.copytree(FOLDER / "mtp-mimo", folder)
        tiny_tokenizer().save_pretrained(folder)
    else:
        tiny_llama(folder, layers=1)
    whole = (folder / "model.safetensors").read_bytes()
    start = whole.index(b'"dtype":"', whole.index(part)) + len(b'"dtype":"')
    (folder / "model.safetensors").write_bytes(whole[:start] + b"Q" + whole[start + 1 :])
    arguments = (folder, "--draft", "mtp") if draft == "mtp" else (folders / "target", "--draft", folder)
    code, words = check(*arguments)
    assert (code, "model.safetensors is damaged or cut" in words) == (1, True)


@pytest.mark.parametrize("family", sorted(PROVEN - {"gemma3"}))
def test_a_whole_model_of_the_suite_lacks_nothing(tmp_path: Path, family: str) -> None:
    """With tied embeddings, too, and without the prefix of its names."""
    for tied in (False, True):
        tiny_model(tiny_config(family, tie_word_embeddings=tied)).save_pretrained(tmp_path)
        assert unfit_tensor(tmp_path) is None
    tensors = {
        name.removeprefix("model."): x for name, x in load_file(tmp_path / "model.safetensors").items()
    }
    save_file(tensors, tmp_path / "model.safetensors", metadata={"format": "pt"})
    assert unfit_tensor(tmp_path) is None


def test_a_pard_model_is_told_beside_its_memory(tmp_path: Path, folders: Path, check: Check) -> None:
    tiny_llama(tmp_path / "pard", layers=1)
    change(tmp_path / "pard", pard_token=383)
    code, words = check(tmp_path / "pard", "--draft", "recycling")
    assert code == 0
    assert words.splitlines()[0].endswith("of 384 tokens; drafts trees of any depth, one forward a round")
    told = json.loads(check(tmp_path / "pard", "--json", "--draft", "lookup")[1])
    assert "a PARD model with pard_token 383" in told["words"]
    assert check(folders / "target", "--draft", tmp_path / "pard")[0] == 0
    change(tmp_path / "pard", pard_token=384)
    code, words = check(folders / "target", "--draft", tmp_path / "pard")
    assert (code, "pard_token = 384" in words) == (1, True)


def test_a_module_that_a_conversion_dropped_is_named_by_the_key_that_announces_it(
    tmp_path: Path, check: Check
) -> None:
    tiny_llama(tmp_path / "target")
    change(tmp_path / "target", num_nextn_predict_layers=1)
    code, words = check(tmp_path / "target", "--draft", "mtp")
    assert (code, "num_nextn_predict_layers = 1, so a conversion dropped it" in words) == (1, True)
