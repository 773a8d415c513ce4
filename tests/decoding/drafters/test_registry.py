"""Drafters are told apart by what they state of themselves: their names decide nothing outside their own folder."""

from __future__ import annotations

import ast
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from spectui.decoding.config import RunConfig
from spectui.decoding.drafters.kind import Weights
from spectui.decoding.drafters.registry import DRAFT_MODEL, EAGLE, KINDS, PARD, draft_help, kind_in
from spectui.decoding.engine import SpeculativeDecoder
from spectui.decoding.errors import DecodingError
from spectui.decoding.models.fingerprint import model_files
from spectui.decoding.models.load import load_models
from spectui.decoding.models.needs import needs_of
from spectui.decoding.worker.choose_tree import with_tree
from tests.decoding.drafters.toy_entry import TOY
from tests.models import greedy_reference, tiny_llama
from tests.sources import trees

DRAFTERS = "decoding/drafters/"
OTHER_MEANINGS = {
    ("decoding/trees/spec.py", "recycling"),  # as in the tree recycling:8
    ("decoding/checkpoints/foreign.py", "mtp"),  # layers given without their model
    *(
        (f"decoding/distill/{file}.py", name)
        for file in ("config", "pipeline")
        for name in ("eagle", "peagle")
    ),
    ("decoding/distill/card.py", "peagle"),  # kinds of head that are trained, not drafters
}
"""Files and words that happen to be the name of a drafter, or mean something else by it."""
ASKING = ("startswith", "endswith", "get", "index", "removeprefix")


def _decided_by(tree: ast.AST) -> Iterator[ast.expr]:
    """Everything that a branch may depend on: what is compared, matched, looked up or asked for its beginning."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Compare):
            yield from (node.left, *node.comparators)
        elif isinstance(node, ast.MatchValue):
            yield node.value
        elif isinstance(node, ast.Subscript):
            yield node.slice
        elif isinstance(node, ast.Dict):
            yield from (key for key in node.keys if key is not None)
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in ASKING:
            yield from node.args


def names_that_decide(tree: ast.AST) -> list[str]:
    """Names of drafters, as text or as ``EAGLE.name``, that something in `tree` may branch on."""
    return [
        part.value if isinstance(part, ast.Constant) else part.value.id.lower()
        for expression in _decided_by(tree)
        for part in ast.walk(expression)
        if (isinstance(part, ast.Constant) and part.value in KINDS)
        or (
            isinstance(part, ast.Attribute)
            and part.attr == "name"
            and isinstance(part.value, ast.Name)
            and part.value.id.lower() in KINDS
        )
    ]


def test_no_source_but_the_drafters_own_depends_on_their_names() -> None:
    decided = {
        (file, name)
        for file, tree in trees().items()
        if not file.startswith(DRAFTERS)
        for name in names_that_decide(tree)
    }
    assert decided == OTHER_MEANINGS


@pytest.mark.parametrize(
    "code",
    [
        "draft == 'lookup'", "draft in ('recycling', other)", "'eagle' != draft", "{'eagle': 1}", "trees['lookup']",
        "trees.get('lookup')", "draft.startswith('eagle')", "draft == EAGLE.name",
        "match draft:\n case 'lookup': pass",
    ],
)  # fmt: skip
def test_a_branch_on_a_name_is_seen(code: str) -> None:
    assert names_that_decide(ast.parse(code))


def test_every_kind_is_offered_where_drafters_are_chosen() -> None:
    for kind in KINDS.values():
        noun = kind.weights.noun if kind.weights else ""
        assert (f"{kind.name} ({kind.help})" if kind.named else noun) in draft_help()


def test_ids_and_folders_are_drafted_with_as_models_until_their_files_are_seen(tmp_path: Path) -> None:
    assert RunConfig(draft="some/head").kind is DRAFT_MODEL
    assert RunConfig(draft="model").kind is DRAFT_MODEL
    assert kind_in(tmp_path) is DRAFT_MODEL
    (tmp_path / "config.json").write_text('{"architectures": ["LlamaForCausalLMEagle3"]}')
    assert kind_in(tmp_path) is EAGLE


def load_toy(folder: Path, target: Any, *, device: Any, allow_pickle: bool) -> object:
    """Weights of the kind below."""
    return json.loads((folder / "config.json").read_text())


def test_a_kind_with_weights_needs_its_entry_alone_from_folder_to_output(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Counted, loaded, fingerprinted, given its tree and drafted with; and refused as a target."""
    weights = Weights("a toy head", recognise=lambda config: "toy" in config, load=f"{__name__}:load_toy")
    kind = replace(TOY, name="toy head", weights=weights)
    monkeypatch.setitem(KINDS, kind.name, kind)
    model, head = tmp_path / "model", tmp_path / "head"
    reference = tiny_llama(model)
    head.mkdir()
    (head / "config.json").write_text('{"toy": 1}')
    save_file({"toy": torch.zeros(250)}, head / "model.safetensors")
    config = RunConfig(target=str(model), draft=str(head), max_new_tokens=12)
    needs = needs_of(config, lambda *_: None)
    assert needs["draft head"].weights >= 1000
    models = load_models(config)
    assert models.draft == {"toy": 1}
    assert set(model_files(config)) == {"target", "draft"}
    config = with_tree(config, models)
    assert config.tree == kind.default_tree
    decoder = SpeculativeDecoder(config, models=models)
    ids = decoder.encode("Tom is a cat")
    rounds = list(decoder.generate(ids))
    assert [token for round_ in rounds for token in round_.tokens] == greedy_reference(reference, ids, 12)
    assert any(round_.tree.size for round_ in rounds)
    with pytest.raises(DecodingError, match="is a toy head; give it as --draft"):
        load_models(RunConfig(target=str(head)))


def test_a_pard_model_is_one_by_its_mask_token(tmp_path: Path) -> None:
    """Found by its file; a token that it has no embedding for is refused by its key."""
    model, draft = tmp_path / "model", tmp_path / "draft"
    reference = tiny_llama(model)
    tiny_llama(draft, seed=1)
    described = json.loads((draft / "config.json").read_text())
    (draft / "config.json").write_text(json.dumps(described | {"pard_token": 383}))
    config = RunConfig(target=str(model), draft=str(draft), tree="dynamic:6x3", max_new_tokens=8)
    decoder = SpeculativeDecoder(config)
    assert decoder.models.kind is PARD
    ids = decoder.encode("Tom is a cat")
    tokens = [token for round_ in decoder.generate(ids) for token in round_.tokens]
    assert tokens == greedy_reference(reference, ids, 8)
    (draft / "config.json").write_text(json.dumps(described | {"pard_token": 384}))
    with pytest.raises(DecodingError, match=r"pard_token = 384 .* embeddings for 384 tokens"):
        SpeculativeDecoder(config)
