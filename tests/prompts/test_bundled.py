"""The bundled prompts as items of a measurement: enough of them, of many kinds, and no two of one mould.

Acceptance depends on the text, so prompts that share a wording or a template count one thing twice, and an
interval from resampling prompts comes out too narrow. What counts as too alike is not guessed: the templates
that distillation fills in show how alike two prompts of one template are, and two of different ones.
"""

from __future__ import annotations

import itertools
import random
import re
from collections.abc import Callable, Iterator

import pytest

from spectui.decoding.distill.prompts import fill, material
from spectui.prompts import BUNDLED_TASKS, bundled, interleave

PER_TASK = 50
PROMPTS = bundled()
TEXTS = {prompt.id: prompt.text for prompt in PROMPTS}

SAME_WORDS = 0.1
"""Share of three-word runs in common from which two prompts are near-duplicates."""

SAME_TEMPLATE = 0.35
"""The same once every content word is masked: from here on two prompts may be fills of one template."""

RUN = 3

LANGUAGES = """
    Python SQL JavaScript C++ Rust Ruby Haskell PHP Kotlin Go Swift C TypeScript Perl Elixir CSS Java x86-64 Lua Julia
    C# JSON git sh R
"""

FUNCTION_WORDS = """
    a an and any are as at be been by can could did do does each every explain find for from give has have he
    her his how i if in is it its many me much my no not of on one or our she should show so some that the
    their them then there these they this those to two us was we were what when where which who why will with
    would write you your
"""
"""Words of templates; everything else fills them."""

Tokens = Callable[[str], list[str]]


def words(text: str) -> list[str]:
    return re.findall(r"[a-z0-9']+", text.lower())


def masked(text: str) -> list[str]:
    """Function words and stops as they are, numbers as ``#``, whatever stands between as one ``_``."""
    function_words = set(FUNCTION_WORDS.split())
    out: list[str] = []
    for token in re.findall(r"[A-Za-z']+|\d+(?:[.,:]\d+)*|[.?!:;]|\n", text):
        kept = token.lower() in function_words or not token[0].isalnum()
        mask = token.lower() if kept else "#" if token[0].isdigit() else "_"
        if mask != "_" or out[-1:] != ["_"]:
            out.append(mask)
    return out


def runs(tokens: list[str]) -> frozenset[tuple[str, ...]]:
    length = min(RUN, len(tokens))
    return frozenset(tuple(tokens[i : i + length]) for i in range(len(tokens) - length + 1))


def alike(a: str, b: str, tokens: Tokens) -> float:
    """Runs in common by runs in either (Jaccard)."""
    left, right = runs(tokens(a)), runs(tokens(b))
    return len(left & right) / len(left | right)


def pairs(tokens: Tokens) -> Iterator[tuple[float, str, str]]:
    """The likeness of every two bundled prompts."""
    runs_of = {name: runs(tokens(text)) for name, text in TEXTS.items()}
    for (a, left), (b, right) in itertools.combinations(runs_of.items(), 2):
        yield len(left & right) / len(left | right), a, b


def test_there_are_fifty_of_each_task_numbered_in_order_and_in_plain_characters() -> None:
    for task in BUNDLED_TASKS:
        assert [p.id for p in PROMPTS if p.task == task] == [
            f"{task}-{i:03d}" for i in range(1, PER_TASK + 1)
        ]
    for text in TEXTS.values():
        assert text == text.strip()
        assert text.replace("€", "").isascii(), text


def test_no_two_are_near_duplicates() -> None:
    assert [pair for pair in pairs(words) if pair[0] >= SAME_WORDS] == []


def test_no_two_share_a_template() -> None:
    assert [pair for pair in pairs(masked) if pair[0] >= SAME_TEMPLATE] == []


def test_no_two_of_a_task_begin_alike() -> None:
    for task in BUNDLED_TASKS:
        openings = {tuple(words(p.text)[:3]) for p in PROMPTS if p.task == task}
        assert len(openings) == PER_TASK


def test_a_prompt_with_every_fifth_word_replaced_would_be_seen() -> None:
    for name, text in TEXTS.items():
        other = " ".join(f"other{i}" if i % 5 == 4 else word for i, word in enumerate(words(text)))
        assert alike(text, other, words) > 2 * SAME_WORDS, name


def test_the_threshold_parts_fills_of_one_template_from_those_of_different_ones() -> None:
    draw = random.Random(0)
    templates = [t for task in material()["tasks"].values() for t in task["templates"] if "{" in t]
    same = [alike(fill(t, draw), fill(t, draw), masked) >= SAME_TEMPLATE for t in templates]
    assert sum(same) / len(same) > 0.85
    fills = [runs(masked(fill(t, draw))) for t in templates]
    apart = [len(a & b) / len(a | b) >= SAME_TEMPLATE for a, b in itertools.combinations(fills, 2)]
    assert sum(apart) / len(apart) < 0.001


@pytest.mark.parametrize("task", BUNDLED_TASKS)
def test_lengths_and_forms_vary_within_a_task(task: str) -> None:
    texts = [p.text for p in PROMPTS if p.task == task]
    lengths = sorted(len(words(text)) for text in texts)
    assert lengths[-1] >= 8 * lengths[0]
    assert lengths[PER_TASK * 3 // 4] >= 1.5 * lengths[PER_TASK // 4]  # not only at the ends
    assert 10 <= sum("?" in text for text in texts) <= PER_TASK - 10
    assert sum("\n" in text for text in texts) >= 3


def test_code_prompts_are_of_many_languages() -> None:
    for language in LANGUAGES.split():
        word = re.compile(rf"(?<![\w+#]){re.escape(language)}(?![\w+#])")
        assert any(word.search(p.text) for p in PROMPTS if p.task == "code"), language


def test_the_first_of_each_task_take_turns() -> None:
    order = [prompt.id for prompt in interleave(bundled(per_task=3))]
    assert order == [f"{task}-{i:03d}" for i in (1, 2, 3) for task in BUNDLED_TASKS]
