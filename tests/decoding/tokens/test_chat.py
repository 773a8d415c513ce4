"""Protects: conversations reach the model through its own chat template, and nothing of them is dropped unsaid."""

from __future__ import annotations

import inspect
from typing import Any

import pytest
from transformers import PreTrainedTokenizerBase

from spectui.decoding.config import RunConfig
from spectui.decoding.errors import DecodingError, UsageError
from spectui.decoding.tokens.chat import CHANGED, MERGED, NO_TEMPLATE, unused_switches
from spectui.decoding.tokens.template_args import RESERVED, read_switches
from spectui.decoding.tokens.vocabulary import Vocabulary
from spectui.prompts.chat import objects
from spectui.prompts.lines import Message
from tests.models import tiny_tokenizer

ASKED = (
    Message("system", "Be brief."),
    Message("user", "Hi"),
    Message("assistant", "Hello"),
    Message("user", "Why?"),
)
TURN = "{{ '<|im_start|>' + m['role'] + '\\n' + m['content'] + '<|im_end|>\\n' }}"
END = "{{ '<|im_start|>assistant\\n' }}"
REFUSES = (
    "{% for m in messages %}"
    "{% if m['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
)
TEMPLATES = {
    "refuses system": f"{REFUSES}{TURN}{{% endfor %}}{END}",
    "drops system": f"{{% for m in messages %}}{{% if m['role'] != 'system' %}}{TURN}{{% endif %}}{{% endfor %}}{END}",
}


def made(template: str | None) -> tuple[Vocabulary, Any]:
    tokenizer = tiny_tokenizer(chat=template is None)
    if template is not None:
        tokenizer.chat_template = template
    return Vocabulary(tokenizer, []), tokenizer


def test_a_conversation_is_what_the_tokenizers_own_template_makes_of_it() -> None:
    vocabulary, tokenizer = made(None)
    notes: list[str] = []
    expected = tokenizer.apply_chat_template(objects(ASKED), add_generation_prompt=True)["input_ids"]
    assert vocabulary.encode_prompt(ASKED, tell=notes.append) == list(expected)
    assert notes == []
    assert "Be brief." in tokenizer.decode(expected)


@pytest.mark.parametrize("name", TEMPLATES)
def test_a_system_prompt_that_the_template_does_not_take_goes_before_the_first_turn_and_is_said(
    name: str,
) -> None:
    vocabulary, tokenizer = made(TEMPLATES[name])
    notes: list[str] = []
    merged = [{"role": "user", "content": "Be brief.\n\nHi"}, *objects(ASKED[2:])]
    expected = tokenizer.apply_chat_template(merged, add_generation_prompt=True)["input_ids"]
    assert vocabulary.encode_prompt(ASKED, tell=notes.append) == list(expected)
    assert notes == [MERGED]
    notes.clear()
    vocabulary.encode_prompt(ASKED[1:], tell=notes.append)
    assert notes == []


def test_what_a_template_refuses_is_said_in_its_own_words() -> None:
    vocabulary, _ = made("{{ raise_exception('roles must\\nalternate') }}")
    with pytest.raises(
        DecodingError, match=r"refuses this prompt: roles must alternate \(its turns: system, user"
    ):
        vocabulary.encode_prompt(ASKED)
    for broken in ("{{ messages[9]['content'] }}", "{{ messages.__class__.__mro__ }}{{ 1 / 0 }}"):
        with pytest.raises(DecodingError, match="the chat template refuses this prompt") as caught:
            made(broken)[0].encode_prompt("Hi")
        assert "\n" not in str(caught.value)


def test_a_template_that_leaves_out_a_users_turn_is_noted() -> None:
    vocabulary, _ = made(f"{{% set m = messages[-1] %}}{TURN}")
    notes: list[str] = []
    vocabulary.encode_prompt(ASKED[1:], tell=notes.append)
    assert notes == [CHANGED]


def test_a_developer_is_a_system_where_the_template_knows_none() -> None:
    asked = [Message("developer", "Be brief."), Message("user", "Hi")]
    vocabulary, tokenizer = made(None)
    assert "<|im_start|>system\nBe brief." in tokenizer.decode(vocabulary.encode_prompt(asked))
    vocabulary, tokenizer = made(f"{{# developer #}}{{% for m in messages %}}{TURN}{{% endfor %}}")
    assert "<|im_start|>developer\nBe brief." in tokenizer.decode(vocabulary.encode_prompt(asked))


def test_without_a_template_the_texts_follow_each_other_and_it_is_said() -> None:
    tokenizer = tiny_tokenizer(chat=False)
    notes: list[str] = []
    ids = Vocabulary(tokenizer, []).encode_prompt(ASKED, tell=notes.append)
    assert tokenizer.decode(ids) == "Be brief.\n\nHi\n\nHello\n\nWhy?"
    assert notes == [NO_TEMPLATE]


def test_switches_reach_the_template_with_their_types() -> None:
    vocabulary, tokenizer = made("{{ messages[0].content }}|{{ a is true }}|{{ b + 1 }}|{{ c }}|{{ d[0] }}")
    switches = read_switches(["a=true", "b=41", "c=some text=x", "d=[7]", "unheard=1"])
    assert switches == {"a": True, "b": 41, "c": "some text=x", "d": [7], "unheard": 1}
    assert tokenizer.decode(vocabulary.encode_prompt("Hi", switches)) == "Hi|True|42|some text=x|7"
    assert unused_switches(tokenizer, switches) == ["unheard"]
    assert read_switches(["a=False", "b=True", "c=None"]) == {"a": False, "b": True, "c": None}
    assert read_switches(["n=NaN", "e=", f"long={'9' * 5000}"]) == {"n": "NaN", "e": "", "long": "9" * 5000}


@pytest.mark.parametrize(
    ("texts", "said"),
    [
        (["enable_thinking"], "has no ="),
        (["=1"], "is no name of a variable"),
        (["a-b=1"], "is no name of a variable"),
        (["messages=[]"], "is not for you to set"),
        (["tokenize=true"], "is not for you to set"),
        (["a=1", "a=2"], "is given twice"),
        (["a=\udce4"], "no text in UTF-8"),
        (["a=" + "x" * 70_000], "at most 64 KiB"),
        (["a=" + "[" * 5000], None),
    ],
)  # fmt: skip
def test_a_switch_that_is_none_is_refused(texts: list[str], said: str | None) -> None:
    if said is None:
        assert isinstance(read_switches(texts)["a"], str)  # nested too deep to be JSON: a text
        return
    with pytest.raises(UsageError, match=said) as caught:
        RunConfig(template_args=read_switches(texts))
    assert "\n" not in str(caught.value)


def test_what_rendering_itself_takes_cannot_be_set() -> None:
    takes = inspect.signature(PreTrainedTokenizerBase.apply_chat_template).parameters
    assert takes.keys() <= RESERVED


def test_switches_are_kept_with_the_run_and_older_runs_have_none() -> None:
    config = RunConfig(template_args={"enable_thinking": False, "effort": "low"})
    assert RunConfig.from_json(config.to_json()) == config
    hash(config)
    assert RunConfig.from_json('{"seed": 3}').template_args == {}
    for bad in (
        '{"template_args": []}',
        '{"template_args": {"messages": 1}}',
        '{"template_args": {"a b": 1}}',
    ):
        with pytest.raises(UsageError):
            RunConfig.from_json(bad)


def test_a_template_that_is_none_is_blamed_and_not_the_prompt() -> None:
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = "{% if %}"
    with pytest.raises(DecodingError, match="chat template is no template"):
        Vocabulary(tokenizer, []).encode_prompt("Tom")
