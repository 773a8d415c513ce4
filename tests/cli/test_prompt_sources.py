"""Protects: prompts out of pipes and stdin, conversations in runs that stop and go on, switches of the template."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest
from click.testing import CliRunner

from spectui.prompts import load
from spectui.prompts.chat import ANSWERS
from spectui.store.reading.reader import Reader
from spectui.tui.cli import main
from tests.cli.conftest import SPECTUI, Invoke
from tests.models import greedy_reference, tiny_llama, tiny_tokenizer

CHAT = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "<|im_start|>assistant\n{% if not enable_thinking %}<think></think>{% endif %}"
)
SYSTEM = {"role": "system", "content": "Be brief."}
HI = {"role": "user", "content": "Hi"}
ASKED = [
    [SYSTEM, HI],
    [HI],
    [SYSTEM, HI, {"role": "assistant", "content": "Hello"}, {"role": "user", "content": "Why?"}],
]
LINES = "".join(
    json.dumps({"messages": [*turns, {"role": "assistant", "content": "x"}]}) + "\n" for turns in ASKED
)


@pytest.mark.usefixtures("workers")
def test_conversations_from_stdin_are_decoded_as_generate_does_also_by_a_run_that_goes_on(
    database: Path, invoke: Invoke, tmp_path: Path
) -> None:
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = CHAT
    target = tiny_llama(tmp_path / "model", tokenizer=tokenizer)
    arguments = "run --prompts - --max-new-tokens 8 --tree chain:1 --template-arg enable_thinking=false --template-arg"
    words = [
        *arguments.split(),
        "unheard=1",
        "--target",
        str(tmp_path / "model"),
        "--max-tokens",
        "17",
    ]
    first = CliRunner().invoke(main, words, input=LINES)
    assert f"{ANSWERS} (3 of 3 prompts)" in first.stderr
    with Reader(database) as reader:
        assert [row.finish_reason for row in reader.generations(1)] == ["length", "length", "stopped"]
    resumed = invoke("run", "--resume", "1")
    assert resumed.exit_code == 0, resumed.output
    with Reader(database) as reader:
        rows = reader.generations(1)
        events = [event.text for event in reader.events(1)]
        emitted = [[token for round_ in reader.rounds(row.id) for token in round_.emitted] for row in rows]
    assert [row.status for row in rows] == ["finished"] * 3
    assert rows[0].prompt_text == "system: Be brief.\n\nuser: Hi"
    for turns, tokens, row in zip(ASKED, emitted, rows, strict=True):
        prompt = tokenizer.apply_chat_template(turns, enable_thinking=False)["input_ids"]
        assert row.prompt_tokens == len(prompt)
        assert tokens == greedy_reference(target, list(prompt), 8)
    assert any("mentions 'unheard'" in text for text in events)
    assert not any("enable_thinking" in text for text in events)
    config = json.loads(invoke("sessions", "show", "1", "--json").stdout)["config"]
    assert config["template_args"] == {"enable_thinking": False, "unheard": 1}


def test_check_and_import_read_stdin_and_pipes(database: Path, tmp_path: Path) -> None:
    checked = CliRunner().invoke(main, ["prompts", "check", "-"], input=LINES)
    assert checked.stdout.splitlines()[:2] == [
        "stdin: 3 prompts: prompts 3",
        f"stdin: {ANSWERS} (3 of 3 prompts)",
    ]
    (tmp_path / "theirs").write_text(LINES)
    check = f"{SPECTUI} prompts check <(cat {tmp_path}/theirs)"
    import_ = f"gzip -c {tmp_path}/theirs | {SPECTUI} prompts import - --out {tmp_path}/ours"
    bench = f"{SPECTUI} bench --prompts <(echo '{{')"
    done = subprocess.run(
        ["bash", "-c", f"{check} && {import_}; {bench}"], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 1
    # The bench is a child, which the pipe has to reach.
    assert re.search(r"\nspectui: /dev/fd/\d+:1: not JSON: .*\n$", done.stderr)
    assert "3 prompts: prompts 3" in done.stdout
    assert load(tmp_path / "ours") == load(tmp_path / "theirs")
    assert json.loads((tmp_path / "ours").read_text().splitlines()[0])["messages"] == ASKED[0]


def test_bad_lines_of_a_list_are_all_listed_with_what_helps(invoke: Invoke, tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_text('[{"prompt": "a"},\n{"prompt": 1},\n{"answer": 2}]')
    result = invoke("prompts", "check", path)
    assert result.exit_code == 1
    assert result.stdout.splitlines() == [
        f"{path}:2: item 2: 'prompt' is not a string",
        f"{path}:3: item 3: 'prompt' is missing; its keys are 'answer'",
    ]
    assert result.stderr.endswith("spectui prompts import leaves such lines out\n")
    imported = invoke("prompts", "import", path)
    assert (imported.exit_code, imported.stdout.count("\n"), imported.stderr.count("skipped")) == (0, 1, 2)


def test_a_default_switch_may_stand_in_the_settings(
    invoke: Invoke, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "config.toml"
    monkeypatch.setenv("SPECTUI_CONFIG", str(path))
    path.write_text('[run]\ntemplate-args = { enable_thinking = false, effort = "low" }\n')
    assert 'template-args = { enable_thinking = false, effort = "low" }' in invoke("config", "show").stdout
    for bad, said in (("3", "it must be a table"), ("{ messages = 1 }", "is not for you to set")):
        path.write_text(f"[run]\ntemplate-args = {bad}\n")
        refused = invoke("config", "show")
        assert refused.exit_code == 2
        assert f"{path}:2: " in refused.stderr
        assert said in refused.stderr
