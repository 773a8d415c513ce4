"""The distillation's raw material: slots resolve, and nothing that is tested on can be trained on."""

import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from spectui import decoding, prompts

FOLDER = Path(decoding.__file__).parent / "distill"
MATERIAL: dict[str, Any] = json.loads((FOLDER / "openings.json").read_text("utf-8"))
WORDS: dict[str, list[str]] = MATERIAL["words"]
TASKS: dict[str, dict[str, list[str]]] = MATERIAL["tasks"]
HELD_OUT: list[dict[str, str]] = [
    json.loads(line) for line in (FOLDER / "heldout.jsonl").read_text("utf-8").splitlines()
]
BUNDLED = {prompt.id: prompt.text for prompt in prompts.bundled()}

NAMES = {"code", "math", "logic", "chat"}
RUN = 8
"""Words in a row that two texts may not share."""

NUMBER = re.compile(r"\{int\d*:(\d+)-(\d+)\}")
WORD = re.compile(r"\{([a-z_]+)(\d?)\}")


def plain(text: str) -> list[str]:
    """The words of `text`; a slot is none of them, and parts what surrounds it."""
    return re.findall(r"[a-z0-9]+|_", WORD.sub(" _ ", NUMBER.sub(" _ ", text)).lower())


def runs(text: str, length: int = RUN) -> set[tuple[str, ...]]:
    """Every `length` words in a row; of a shorter text, all of its words."""
    words = plain(text)
    length = min(length, len(words))
    return {tuple(words[i : i + length]) for i in range(len(words) - length + 1)}


def shared(texts: list[str], tested: dict[str, str]) -> set[tuple[str, tuple[str, ...]]]:
    """Runs of words that `texts` share with `tested`, each with the name of the tested text."""
    owners = {run: name for name, text in tested.items() for run in runs(text)}
    overlaps = set()
    for length in {len(run) for run in owners}:
        for text in texts:
            if len(plain(text)) >= length:
                overlaps |= {(owners[run], run) for run in runs(text, length) & owners.keys()}
    return overlaps


def test_every_task_has_openings_and_templates() -> None:
    assert set(TASKS) == NAMES
    for task in TASKS.values():
        for kind, least in {"openings": 60, "templates": 45}.items():
            assert len(task[kind]) >= least
            assert len(set(task[kind])) == len(task[kind])


@pytest.mark.parametrize("task", sorted(NAMES))
def test_every_slot_of_a_template_resolves(task: str) -> None:
    for template in TASKS[task]["templates"]:
        for low, high in NUMBER.findall(template):
            assert int(low) < int(high), template
        rest = NUMBER.sub("", template)
        slots = set(WORD.findall(rest))
        for name, draws in Counter(name for name, _ in slots).items():
            assert len(WORDS[name]) >= 2 * draws or draws == 1, (name, template)
        assert not set("{}") & set(WORD.sub("", rest)), template


def test_every_list_of_words_is_used_and_holds_no_slot() -> None:
    templates = [template for task in TASKS.values() for template in task["templates"]]
    assert set(WORDS) == {name for template in templates for name, _ in WORD.findall(template)}
    for name, words in WORDS.items():
        assert len(set(words)) == len(words) >= 2, name
        for word in words:
            assert word.strip(), name
            assert not WORD.search(word), word
            assert not NUMBER.search(word), word


def test_openings_are_beginnings() -> None:
    for task in TASKS.values():
        for opening in task["openings"]:
            assert 2 <= len(opening.split()) <= 8, opening
            assert "{" not in opening, opening


def test_material_is_plain_ascii() -> None:
    assert json.dumps(MATERIAL, ensure_ascii=False).isascii()
    assert json.dumps(HELD_OUT, ensure_ascii=False).isascii()


def test_held_out_prompts_have_ids_of_their_own_and_cover_every_task() -> None:
    ids = [prompt["id"] for prompt in HELD_OUT]
    assert len(set(ids)) == len(ids)
    assert len({prompt["prompt"] for prompt in HELD_OUT}) == len(ids)
    per_task = Counter(prompt["task"] for prompt in HELD_OUT)
    assert set(per_task) == NAMES
    assert min(per_task.values()) >= 10
    for prompt in HELD_OUT:
        assert prompt["id"].startswith(f"heldout-{prompt['task']}-")


def test_training_material_shares_no_long_run_of_words_with_what_is_tested_on() -> None:
    tested = BUNDLED | {prompt["id"]: prompt["prompt"] for prompt in HELD_OUT}
    texts = [text for task in TASKS.values() for text in (*task["templates"], *task["openings"])]
    texts += [word for words in WORDS.values() for word in words]
    assert not shared(texts, tested)


def test_no_opening_is_more_than_half_of_a_tested_prompt() -> None:
    tested = [*BUNDLED.values(), *(prompt["prompt"] for prompt in HELD_OUT)]
    for task in TASKS.values():
        for opening in task["openings"]:
            for text in tested:
                if text.lower().startswith(opening.lower()):
                    assert len(opening.split()) * 2 <= len(text.split()), (opening, text)


def test_held_out_prompts_are_not_bundled_ones() -> None:
    assert not shared([prompt["prompt"] for prompt in HELD_OUT], BUNDLED)
    for held_out in HELD_OUT:
        for name, text in BUNDLED.items():
            both = runs(held_out["prompt"], 3) & runs(text, 3)
            shorter = min(len(runs(held_out["prompt"], 3)), len(runs(text, 3)))
            assert len(both) <= 0.2 * shorter, (held_out["id"], name)


def test_no_bundled_prompt_is_made_of_a_training_template() -> None:
    """It holds at most half of the fixed wording, three words at a time, of any template that has some."""
    asked = {name: runs(text, 3) for name, text in BUNDLED.items()}
    for task in TASKS.values():
        for template in task["templates"]:
            fixed = {run for run in runs(template, 3) if "_" not in run}
            if len(fixed) >= 3:
                for name, questions in asked.items():
                    assert len(fixed & questions) <= len(fixed) / 2, (name, template)


def test_a_run_is_seen_across_punctuation_but_not_across_a_slot() -> None:
    tested = {"long": "One two, three four five six seven eight.", "short": "Ten, eleven?"}
    assert shared(["zero one two three four: five six seven eight nine"], tested)
    assert not shared(["one two three four {name} five six seven eight"], tested)
    assert shared(["nine ten eleven twelve"], tested)
