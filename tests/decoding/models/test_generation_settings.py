"""A model's `generation_config.json` decides here as it does in transformers' `generate`: on every row of a tree."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import chisquare
from transformers import GenerationConfig
from transformers.generation.logits_process import LogitsProcessorList

from spectui.decoding.bench.arms import GenerateArm
from spectui.decoding.bench.paired import divergence
from spectui.decoding.config import RunConfig
from spectui.decoding.engine import SpeculativeDecoder
from spectui.decoding.errors import DecodingError
from spectui.decoding.models.load import LoadedModels, load_models
from spectui.decoding.rounds import Round
from spectui.decoding.tokens.vocabulary import Vocabulary
from spectui.store.database import connect
from tests.decoding.worker.workers import TEXTS, Worked
from tests.heads import tiny_head
from tests.models import tiny_llama, tiny_tokenizer

PROMPT = "Tom is a cat and a cat is an animal"
NEW_TOKENS = 20

SETTINGS: dict[str, dict[str, Any]] = {
    "repetition_penalty": {"repetition_penalty": 1.3},
    "rewarded repetition": {"repetition_penalty": 0.8},
    "encoder_repetition_penalty": {"encoder_repetition_penalty": 1.6},
    "no_repeat_ngram_size": {"no_repeat_ngram_size": 2, "repetition_penalty": 0.6},
    "no_repeat_ngram_size 1": {"no_repeat_ngram_size": 1},
    "encoder_no_repeat_ngram_size": {"encoder_no_repeat_ngram_size": 1},
    "suppress_tokens": {"suppress_tokens": list(range(40, 200))},
    "begin_suppress_tokens": {"begin_suppress_tokens": [i for i in range(384) if i != 50]},
    "bad_words_ids": {"bad_words_ids": [[i] for i in range(3, 90)] + [[i, j] for i in (100, 200) for j in range(384)]},
    "sequence_bias": {"sequence_bias": [[[60], 4.0], [[280, 60], 30.0], [[60, 61], 30.0]]},
    "min_new_tokens": {"min_new_tokens": 6, "sequence_bias": [[[2], 30.0]]},
    "min_length": {"min_length": 36, "sequence_bias": [[[2], 30.0]]},
    "several end tokens": {"eos_token_id": [2, 7, 9], "min_new_tokens": 9, "sequence_bias": [[[7], 30.0]]},
    "forced_eos_token_id": {"forced_eos_token_id": 9, "eos_token_id": [2, 9]},
    "exponential_decay_length_penalty": {"exponential_decay_length_penalty": [6, 1.6]},
    "renormalize_logits": {"renormalize_logits": True, "repetition_penalty": 1.3},
    "remove_invalid_values": {"remove_invalid_values": True, "suppress_tokens": [3, 4]},
    "watermarking_config": {"watermarking_config": {"greenlist_ratio": 0.4, "bias": 6.0, "context_width": 1}},
    "everything at once": {
        "repetition_penalty": 1.2, "no_repeat_ngram_size": 3, "suppress_tokens": list(range(30, 60)),
        "begin_suppress_tokens": list(range(300)), "bad_words_ids": [[70], [71, 72]], "min_new_tokens": 5,
        "exponential_decay_length_penalty": [8, 1.2], "temperature": 0.6, "top_p": 0.9, "top_k": 20, "do_sample": True,
    },
}  # fmt: skip


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Models this small only lose time to a second thread."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def models() -> LoadedModels:
    """A target, and a draft that agrees with it now and then."""
    target, draft = tiny_llama(layers=2), tiny_llama(layers=2)
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in draft.parameters():
            parameter.add_(0.01 * torch.randn_like(parameter))
    return LoadedModels(target, draft, Vocabulary(tiny_tokenizer(), [2]))


def settled(models: LoadedModels, draft: str, **settings: Any) -> LoadedModels:
    """The same with `settings` as if they stood in the target's generation_config.json."""
    models.target.generation_config = GenerationConfig(**{"eos_token_id": 2, "pad_token_id": 0, **settings})
    eos = models.target.generation_config.eos_token_id
    vocabulary = Vocabulary(models.tokenizer.tokenizer, eos if isinstance(eos, list) else [eos])
    drafts = {"model": models.draft, "eagle": tiny_head(models.target, feature_layers=(0, 1, 1))}
    return LoadedModels(models.target, drafts.get(draft), vocabulary)


def generated(models: LoadedModels, ids: list[int], tokens: int = NEW_TOKENS, **options: Any) -> list[int]:
    """Greedy `generate` with whatever settings the model has."""
    with torch.inference_mode():
        out = models.target.generate(
            torch.tensor([ids]), attention_mask=torch.ones(1, len(ids), dtype=torch.long), do_sample=False,
            max_new_tokens=tokens, **options,
        )  # fmt: skip
    return [int(t) for t in out[0, len(ids) :]]


def tokens_of(rounds: list[Round]) -> list[int]:
    return [t for r in rounds for t in r.tokens]


ON_BOTH_PATHS = (
    "repetition_penalty", "no_repeat_ngram_size", "begin_suppress_tokens", "several end tokens", "forced_eos_token_id",
    "everything at once",
)  # fmt: skip
"""The others differ in what transformers computes alone."""


@pytest.mark.parametrize(
    ("name", "static"), [*((name, "0") for name in SETTINGS), *((name, "1") for name in ON_BOTH_PATHS)]
)
def test_greedy_output_is_that_of_generate(
    models: LoadedModels, monkeypatch: pytest.MonkeyPatch, name: str, static: str
) -> None:
    """Token by token, under a draft model and another drafter, and other than with bare logits."""
    monkeypatch.setenv("SPECTUI_STATIC", static)
    others = (("eagle", "dynamic:8x4"), ("lookup", "chain:3"), ("recycling", "recycling:8"))
    expected = list[int]()
    for draft, tree in (("model", "full:3x2"), others[list(SETTINGS).index(name) % 3]):
        chosen = settled(models, draft, **SETTINGS[name])
        config = RunConfig(draft=draft, tree=tree, max_new_tokens=NEW_TOKENS)
        decoder = SpeculativeDecoder(config, models=chosen)
        ids = decoder.encode(PROMPT)
        expected = expected or generated(chosen, ids)
        rounds = list(decoder.generate(ids))
        assert tokens_of(rounds) == expected, draft
        assert draft != "model" or any(r.path for r in rounds), "no node was accepted: nothing was tried"
    if static == "0" and name != "remove_invalid_values":
        bare = SpeculativeDecoder(config.changed(raw=True), models=chosen)
        assert tokens_of(list(bare.generate(ids))) != expected


def test_both_paths_record_the_processed_distribution(
    models: LoadedModels, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both equal `generate`'s processors on plain forwards, at each node; a suppressed token has no probability."""
    chosen = settled(models, "model", **SETTINGS["everything at once"])
    outcomes = []
    for static in ("0", "1"):
        monkeypatch.setenv("SPECTUI_STATIC", static)
        decoder = SpeculativeDecoder(
            RunConfig(draft="model", tree="full:2x3", max_new_tokens=12), models=chosen
        )
        outcomes.append(list(decoder.generate(PROMPT)))
    for ours, theirs in zip(*outcomes, strict=True):
        for name in ("target_p", "target_entropy", "match"):
            np.testing.assert_allclose(getattr(ours, name), getattr(theirs, name), atol=1e-5)
    ids = decoder.encode(PROMPT)
    processors = _processors(chosen, len(ids), 12)
    for round_ in outcomes[0]:
        for node in range(round_.tree.size):
            path, at = list[int](), int(round_.tree.parent[node])
            while at >= 0:
                path.insert(0, int(round_.tree.token[at]))
                at = int(round_.tree.parent[at])
            law = _law(chosen, processors, [*ids, *path])
            assert round_.target_p[node] == pytest.approx(float(law[round_.tree.token[node]]), abs=1e-5)
            assert round_.target_entropy[node] == pytest.approx(
                float(torch.special.entr(law).sum()), abs=1e-4
            )
        ids += round_.tokens


def _processors(models: LoadedModels, length: int, most: int) -> LogitsProcessorList:
    config = models.target._prepare_generation_config(None, do_sample=False, max_new_tokens=most)[0]
    models.target._prepare_special_tokens(config, True, device="cpu")
    config.max_length = length + most
    processors: LogitsProcessorList = models.target._get_logits_processor(
        config, input_ids_seq_length=length, device="cpu"
    )
    return processors


def _law(models: LoadedModels, processors: LogitsProcessorList, ids: list[int]) -> torch.Tensor:
    tensor = torch.tensor([ids])
    with torch.inference_mode():
        law: torch.Tensor = processors(tensor, models.target(tensor).logits[:, -1].float()).softmax(-1)[0]
    return law


VOCAB, TRIALS = 6, 220


@pytest.mark.parametrize(
    ("tree", "static", "settings"),
    [
        ("full:1x2", "0", {"repetition_penalty": 1.8, "no_repeat_ngram_size": 2}),
        ("dynamic:4x2", "1", {"repetition_penalty": 1.8, "suppress_tokens": [3]}),
    ],
)  # fmt: skip
def test_sampled_outputs_follow_the_law_of_generate(
    monkeypatch: pytest.MonkeyPatch, tree: str, static: str, settings: dict[str, Any]
) -> None:
    """Chi-square over all two-token outputs against transformers' own processors, temperature and top-p."""
    monkeypatch.setenv("SPECTUI_STATIC", static)
    target = tiny_llama(vocab_size=VOCAB, layers=1, hidden=16, seed=3)
    draft = tiny_llama(vocab_size=VOCAB, layers=1, hidden=16, seed=4)
    target.generation_config = GenerationConfig(pad_token_id=0, top_k=2, **settings)
    tokenizer = tiny_tokenizer()
    tokenizer.eos_token = None
    models = LoadedModels(target, draft, Vocabulary(tokenizer, []))
    config = RunConfig(draft="lm", tree=tree, temperature=1.4, top_p=0.9, max_new_tokens=2, seed=5)
    decoder = SpeculativeDecoder(config, models=models)
    prompt = [1, 4, 2, 5]
    counts: Counter[tuple[int, ...]] = Counter()
    for trial in range(TRIALS):
        counts[tuple(tokens_of(list(decoder.generate(prompt, position=trial))))] += 1

    sampling = target._prepare_generation_config(None, do_sample=True, temperature=1.4, top_p=0.9, top_k=0)[0]
    target._prepare_special_tokens(sampling, True, device="cpu")
    processors = target._get_logits_processor(sampling, input_ids_seq_length=len(prompt), device="cpu")
    prefixes = [tuple(p) for k in range(2) for p in product(range(VOCAB), repeat=k)]
    law = {p: _law(models, processors, [*prompt, *p]).double() for p in prefixes}
    expected, observed = [], []
    for pair in product(range(VOCAB), repeat=2):
        expected.append(float(np.prod([float(law[pair[:k]][pair[k]]) for k in range(2)])) * TRIALS)
        observed.append(counts[pair])
    mass, seen = np.asarray(expected), np.asarray(observed)
    assert seen[mass == 0.0].sum() == 0
    small = mass < 5.0
    seen, mass = np.append(seen[~small], seen[small].sum()), np.append(mass[~small], mass[small].sum())
    keep = mass > 0
    assert keep.sum() > 8
    assert chisquare(seen[keep], mass[keep] * seen[keep].sum() / mass[keep].sum()).pvalue > 1e-3


def test_a_watermark_comes_behind_temperature_and_top_p(models: LoadedModels) -> None:
    """Its place in transformers' list of processors changes the draws."""
    chosen = settled(models, "model", watermarking_config={"bias": 3.0}, repetition_penalty=1.4)
    config = RunConfig(draft="model", tree="full:1x2", temperature=0.8, top_p=0.7)
    decoder = SpeculativeDecoder(config, models=chosen)
    ids = decoder.encode(PROMPT)
    next(decoder.generate(ids))
    sampling = chosen.target._prepare_generation_config(
        None, do_sample=True, temperature=0.8, top_p=0.7, top_k=0
    )[0]
    chosen.target._prepare_special_tokens(sampling, True, device="cpu")
    processors = chosen.target._get_logits_processor(sampling, input_ids_seq_length=len(ids), device="cpu")
    torch.manual_seed(0)
    logits = torch.randn(3, 384)
    assert decoder.prompt_settings is not None
    ours = decoder.prompt_settings.processed(np.asarray([7, 8]), np.asarray([-1, 0]), logits)
    assert (decoder.settings.temperature, decoder.settings.top_p) == (1.0, 1.0)
    for row, path in enumerate(([], [7], [7, 8])):
        theirs = processors(torch.tensor([[*ids, *path]]), logits[row : row + 1]).softmax(-1)[0]
        torch.testing.assert_close(ours[row].softmax(-1), theirs)


@pytest.mark.parametrize("static", ["0", "1"])
def test_a_stop_string_ends_the_output(
    models: LoadedModels, monkeypatch: pytest.MonkeyPatch, static: str
) -> None:
    """Also within an accepted path, and where it is spread over tokens."""
    monkeypatch.setenv("SPECTUI_STATIC", static)
    plain = settled(models, "model")
    ids = plain.tokenizer.encode_prompt(PROMPT)
    free = generated(plain, ids)
    text = plain.tokenizer.tokenizer.decode(free[2:5])
    chosen = settled(models, "model", stop_strings=[text])
    expected = generated(chosen, ids, tokenizer=chosen.tokenizer.tokenizer)
    assert len(expected) < len(free)
    for tree in ("full:3x2", "chain:5"):
        decoder = SpeculativeDecoder(
            RunConfig(draft="model", tree=tree, max_new_tokens=NEW_TOKENS), models=chosen
        )
        rounds = list(decoder.generate(ids))
        assert tokens_of(rounds) == expected
        assert rounds[-1].finish == "eos"


def test_an_output_ends_where_generates_does(models: LoadedModels) -> None:
    """The tokenizer's end token is none where the model's settings name others."""
    chosen = settled(models, "model", eos_token_id=[350], sequence_bias=[[[2], 30.0]])
    config = RunConfig(draft="model", tree="chain:3", max_new_tokens=8)
    decoder = SpeculativeDecoder(config, models=chosen)
    ids = decoder.encode(PROMPT)
    assert tokens_of(list(decoder.generate(ids))) == generated(chosen, ids)[:8] == [2] * 8
    assert any("'<|im_end|>'" in note for note in decoder.settings.notes)
    assert SpeculativeDecoder(config.changed(raw=True), models=chosen).settings.end_ids == {2, 350}


def test_models_without_settings_pay_nothing(models: LoadedModels) -> None:
    decoder = SpeculativeDecoder(RunConfig(draft="model", tree="chain:2"), models=settled(models, "model"))
    next(decoder.generate(PROMPT))
    assert decoder.prompt_settings is None
    assert decoder.settings.notes == ()


def test_what_is_not_applied_is_named(models: LoadedModels) -> None:
    chosen = settled(
        models,
        "model",
        num_beams=4,
        guidance_scale=1.5,
        do_sample=True,
        top_k=20,
        temperature=0.7,
        suppress_tokens=[5],
    )
    applied, beside, sampling = SpeculativeDecoder(
        RunConfig(draft="model", tree="chain:2"), models=chosen
    ).settings.notes
    assert "suppress_tokens [5]" in applied
    assert "num_beams 4, guidance_scale 1.5" in beside
    assert "temperature 0.7, top_k 20" in sampling
    assert "greedy" in sampling


@pytest.mark.parametrize("raw", [False, True])
@pytest.mark.parametrize("lookup", [False, True])
def test_what_bench_compares_with_obeys_the_same_settings(
    models: LoadedModels, lookup: bool, raw: bool
) -> None:
    """`generate` in bench leaves out beams as we do, has what it needs for stop strings, and nothing with --raw."""
    chosen = settled(
        models,
        "lookup",
        num_beams=3,
        num_return_sequences=2,
        repetition_penalty=1.3,
        stop_strings=["end"],
        max_time=9.0,
    )
    config = RunConfig(draft="lookup", max_new_tokens=NEW_TOKENS, raw=raw)
    decoder = SpeculativeDecoder(config, models=chosen)
    ids = decoder.encode(PROMPT)
    arm = GenerateArm(chosen.target, config, chosen.tokenizer, assistant=None, lookup=lookup)
    theirs, ours = arm.run(ids, 0).tokens, tokens_of(list(decoder.generate(ids)))
    assert ours == theirs
    assert divergence(decoder.settings, ids, ours, theirs) is None
    different = divergence(decoder.settings, ids, [383, *ours], theirs)
    assert different is not None
    assert different["position"] == 0
    assert len(ours) == (NEW_TOKENS if raw else 2)


@pytest.mark.parametrize(
    "settings",
    [
        {"repetition_penalty": -2.0},
        {"sequence_bias": [[[4000], 1.0]]},
        {"bad_words_ids": [[-1]]},
        {"exponential_decay_length_penalty": [1, 1.1], "eos_token_id": 4000},
        {"forced_eos_token_id": 4000},
        {"stop_strings": 5},
        {"stop_strings": [5]},
    ],
)
def test_settings_that_cannot_be_are_refused_before_the_first_prompt(
    models: LoadedModels, settings: dict[str, Any]
) -> None:
    chosen = settled(models, "model")
    for name, value in settings.items():
        setattr(chosen.target.generation_config, name, value)
    config = RunConfig(target="some/model", draft="model", tree="chain:2")
    with pytest.raises(DecodingError, match=r"some/model.*cannot be applied.*--raw") as refused:
        SpeculativeDecoder(config, models=chosen)
    assert "\n" not in str(refused.value)
    SpeculativeDecoder(config.changed(raw=True), models=chosen)


def test_settings_come_from_the_models_folder(tmp_path: Path) -> None:
    """Through `load_models` as a run goes; with packed weights."""
    target = tiny_llama(layers=1)
    target.generation_config.repetition_penalty = 1.5
    target.save_pretrained(tmp_path)
    tiny_tokenizer().save_pretrained(tmp_path)
    config = RunConfig(target=str(tmp_path), draft="recycling", max_new_tokens=16)
    decoder = SpeculativeDecoder(config, models=load_models(config))
    ids = decoder.encode(PROMPT)
    assert tokens_of(list(decoder.generate(ids))) == generated(
        LoadedModels(target, None, decoder.models.tokenizer), ids, 16
    )


def test_a_configuration_of_before_decodes_as_it_began() -> None:
    """Sessions recorded without the option decoded bare logits, and resuming must not mix."""
    stored = {"draft": "recycling", "tree": "recycling:8"}
    assert RunConfig.from_dict(stored).raw
    assert not RunConfig.from_json(RunConfig().to_json()).raw
    assert not RunConfig().raw


def test_a_session_says_what_is_applied_and_goes_on_as_it_began(tmp_path: Path) -> None:
    """A worker on a folder with settings; then on a session of before, whose configuration knows nothing of them."""
    folder = tmp_path / "model"
    target = tiny_llama(layers=1)
    target.generation_config.repetition_penalty = 1.5
    target.save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    vocabulary, bare = Vocabulary(tiny_tokenizer(), [2]), tiny_llama(layers=1)
    for name, model, words in (
        ("now", target, "applied from generation_config.json: repetition_penalty 1.5"),
        ("before", bare, "--raw leaves out of generation_config.json: repetition_penalty 1.5"),
    ):
        worked = Worked(tmp_path, folder, name, max_new_tokens=12)
        if name == "before":
            db = connect(worked.database)
            with db:
                db.execute(
                    "UPDATE session SET config = json_remove(config, '$.raw') WHERE id = ?", (worked.id,)
                )
            db.close()
        worked.work()
        assert worked.ended() == 0
        assert [e.text for e in worked.reader.events(worked.id) if e.kind == "settings"] == [words]
        plain = LoadedModels(model, None, vocabulary)
        expected = [generated(plain, vocabulary.encode_prompt(text), 12) for _, text in TEXTS]
        assert [tokens for _, _, tokens in worked.outputs()] == expected
        worked.close()


@pytest.mark.parametrize(
    ("written", "words"),
    [
        ("{not json", "is not JSON"),
        ("[]", "no JSON object"),
        ("\xff", "is not JSON"),
        ('{"eos_token_id": "2"}', "end token that is no number"),
        ('{"eos_token_id": [2, {"a": 1}]}', "end token that is no number"),
        ('{"eos_token_id": 2, "suppress_tokens": 5}', "generation_config.json cannot be used"),
        ('{"eos_token_id": 2, "num_return_sequences": 3}', "generation_config.json cannot be used"),
        ('{"eos_token_id": 2, "cache_implementation": "x"}', "generation_config.json cannot be used"),
    ],
)
def test_a_file_that_cannot_be_used_is_named(tmp_path: Path, written: str, words: str) -> None:
    """Before, transformers was blamed, or the file was passed over in silence."""
    tiny_llama(tmp_path, layers=1)
    (tmp_path / "generation_config.json").write_bytes(written.encode("latin-1"))
    with pytest.raises(DecodingError, match=words) as refused:
        load_models(RunConfig(target=str(tmp_path), draft="recycling"))
    assert "\n" not in str(refused.value)
    assert "mend" in str(refused.value)


@pytest.mark.parametrize("shape", ["{}", "{}.0", "[[{}]]", "[{}.0, 99999]", "[[99999], [{}]]"])
def test_end_tokens_are_read_as_generate_reads_them(tmp_path: Path, shape: str) -> None:
    """Numbers with a point and lists in lists: `generate` makes a tensor of whole numbers of them."""
    target = tiny_llama(tmp_path, layers=1)
    config = RunConfig(target=str(tmp_path), draft="recycling", tree="recycling:3", max_new_tokens=12)
    ids = Vocabulary(tiny_tokenizer(), []).encode_prompt(PROMPT)
    plain = target.generate(torch.tensor([ids]), do_sample=False, max_new_tokens=12, eos_token_id=None)
    third = int(plain[0, len(ids) + 2])
    (tmp_path / "generation_config.json").write_text(f'{{"eos_token_id": {shape.format(third)}}}')
    decoder = SpeculativeDecoder(config, models=load_models(config))
    output = tokens_of(list(decoder.generate(ids)))
    assert output == generated(decoder.models, ids, 12)
    assert output[-1] == third


def test_a_setting_that_makes_logits_infinite_is_named(models: LoadedModels) -> None:
    chosen = settled(models, "model")
    chosen.target.generation_config.repetition_penalty = 1e-40
    decoder = SpeculativeDecoder(RunConfig(target="m", draft="model", tree="chain:2"), models=chosen)
    with pytest.raises(DecodingError, match=r"not finite.*repetition_penalty 1e-40.*--raw"):
        list(decoder.generate([5, 6, 7]))
