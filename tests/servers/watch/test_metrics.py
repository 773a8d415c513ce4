"""Protects: the pages of three engines become one kind of sample, and no other page becomes any."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from spectui.servers.metrics import MOST_BUCKETS, MOST_LABELS, PageError, read_page
from spectui.servers.watch.figures import between
from spectui.servers.watch.server import Watched
from spectui.store.samples import Sample, from_row, to_row
from spectui.tui.watching import panes
from tests.servers.watch.simulated import Setup, Simulated

RECORDED = Path(__file__).parents[1] / "recorded"
"""Pages of real servers that answered the same eight prompts, one after the other."""


def page(name: str) -> str:
    return (RECORDED / f"{name}.txt").read_text(encoding="utf-8")


def sample(name: str) -> Sample:
    return read_page(page(name), 100.0)


def test_a_page_of_vllm_tells_rounds_from_its_latency_histogram() -> None:
    eagle, ngram, plain = (
        between(None, sample(f"vllm-metrics-{name}")) for name in ("eagle3", "ngram", "none")
    )
    assert (eagle.rounds, eagle.tokens, eagle.drafts, eagle.by_position) == (189, 400, 189, (123, 62, 31))
    assert (eagle.drafting, ngram.drafting, plain.drafting) == (1, 58 / 338, None)
    assert eagle.ms_per_round == pytest.approx(40.235, abs=1e-3)
    assert [round(one.ms_per_token or 0, 1) for one in (eagle, ngram, plain)] == [19.0, 26.0, 25.1]
    assert [one.tokens_per_round for one in (eagle, ngram, plain)] == [400 / 189, 400 / 338, 1]
    assert eagle.load == plain.load == 1
    assert eagle.lengths == [66, 61, 31, 31]
    assert [place.accepted for place in eagle.positions] == [123 / 189, 62 / 123, 31 / 62]
    assert eagle.worth_ms(2) == pytest.approx(31 / 189 * 19.011, abs=1e-3)


def test_a_suffix_drafter_has_drafts_of_all_lengths() -> None:
    figures = between(None, sample("vllm-metrics-suffix"))
    assert figures.per_draft == 284 / 186
    assert sum(figures.lengths) == 186
    assert figures.positions[-1].accepted is None  # never reached


def test_a_page_of_vllm_without_speculation_says_so() -> None:
    assert [sample(f"vllm-metrics-{name}").speculative for name in ("eagle3", "none")] == [True, False]


def test_a_page_of_llama_cpp_tells_the_same_by_other_names() -> None:
    figures = between(None, sample("llamacpp-metrics-eagle3"))
    assert (figures.drafts, figures.drafted, figures.accepted) == (186, 548, 211)
    assert figures.by_position == (121, 59, 31)
    assert figures.rounds == 408 - 211
    assert figures.ms_per_token == pytest.approx(24906.1 / 408)


def test_a_page_of_llama_cpp_without_drafts_is_no_zero() -> None:
    """All its counters are there, and 0, whether it speculates or not."""
    server = Simulated(Setup())
    server.run(20.0)
    read = read_page(server.llama(), 1.0)
    assert read.speculative is None
    figures = between(None, read)
    assert figures.accepted_share is None
    assert figures.drafting == 0
    assert figures.tokens_per_round == 1


def test_a_page_of_sglang_is_of_one_rank_and_by_task() -> None:
    server = Simulated(Setup(depth=3, survives=(0.7, 0.6, 0.5), concurrency=2))
    server.run(60.0)
    lines = [
        'sglang:generation_tokens_total{model_name="m",task="code"} 900',
        'sglang:num_requests_total{model_name="m",task="code"} 10',
        'sglang:spec_verify_calls_total{model_name="m",task="code"} 300',
    ]
    read = read_page(server.sglang() + "\n".join(lines) + "\n", 1.0)
    assert (read.depth, read.running) == (3, 2)  # of two ranks, which tell the same
    assert [(counts.task, counts.tokens, counts.rounds) for counts in read.tasks] == [("code", 890, 300)]
    assert between(None, read).by_position == ()
    watched = Watched("http://gpu:1", "gpu:1")
    watched.take(read)
    rows = panes.position_rows(watched.view(2.0), 37, 10)
    assert "".join(text for text, _ in rows[0]) == "SGLang does not count by position."
    assert re.fullmatch(r"code +2.97 tok/round  300 rounds", "".join(text for text, _ in rows[1]))


@pytest.mark.parametrize("name", ["vllm-metrics-eagle3", "vllm-metrics-none", "llamacpp-metrics-eagle3"])
def test_a_sample_is_kept_and_read_back_as_it_is(name: str) -> None:
    read = sample(name)
    assert from_row(to_row(read)) == read


def test_engines_of_one_server_are_summed() -> None:
    """Data parallelism: a series for each engine."""
    text = page("vllm-metrics-eagle3")
    second = "\n".join(line for line in text.splitlines() if not line.startswith("#")).replace(
        'engine="0"', 'engine="1"'
    )
    both = read_page(f"{text}\n{second}\n", 100.0)
    assert both.drafts == 2 * 189
    assert both.by_position == (246, 124, 62)
    assert between(None, both).ms_per_token == pytest.approx(19.011, abs=1e-3)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "is empty"),
        ("<!DOCTYPE html><html></html>", r"web page \(HTML\)"),
        ('{"error": "no"}', "JSON"),
        ("rubbish and rubbish\n", "no Prometheus text"),
        (
            "# TYPE node_cpu counter\nnode_cpu 1\nnode_load 2\n# TYPE go_gc gauge\ngo_gc 1\n",
            r"\('node' \.\.\.\)",
        ),
        ("vllm:generation_tokens_total{ 3\n", "garbled"),
        ("vllm:generation_tokens_total three\n", "garbled"),
        ("vllm:something_new 1\n", "no counter that spectui knows"),
        ("vllm:generation_tokens_total NaN\n", "no counter that spectui knows"),
        ("vllm:generation_tokens_total -4\n", "no counter that spectui knows"),
        ('vllm:generation_tokens_total{a="\x1b[2J"} 1e999\n', "no counter that spectui knows"),
    ],
)
def test_any_other_page_is_named_in_one_line(text: str, words: str) -> None:
    with pytest.raises(PageError, match=words) as error:
        read_page(text, 1.0)
    assert "\n" not in str(error.value)


def test_positions_beyond_a_hole_or_any_number_are_left_out() -> None:
    name = "vllm:spec_decode_num_accepted_tokens_per_pos_total"
    lines = [
        f'{name}{{position="{place}"}} 5' for place in ("0", "1", "3", "x", "-1", "99999999999999999999")
    ]
    assert read_page("\n".join(lines) + "\n", 1.0).by_position == (5, 5)


def test_what_a_page_names_is_bounded_and_fit_to_be_shown() -> None:
    tasks = "".join(
        f'sglang:{name}{{model_name="m\x1b[2J\u202e",task="t\x1b{task}"}} {value}\n'
        for task in range(500)
        for name, value in (
            ("generation_tokens_total", 30),
            ("num_requests_total", 10),
            ("spec_verify_calls_total", 5),
        )
    )
    name = "sglang:time_to_first_token_seconds"
    buckets = "".join(f'{name}_bucket{{le="{bound}"}} {bound}\n' for bound in range(500))
    text = f'{tasks}{buckets}{name}_bucket{{le="+Inf"}} 9999\n{name}_sum 1\n'
    one = read_page(text, 0.0)
    assert len(one.tasks) == MOST_LABELS
    assert (one.tasks[0].task, one.tasks[0].tokens) == ("t 0", 20)
    assert one.model.isprintable()
    assert one.first_token is not None
    assert len(one.first_token.bounds) == MOST_BUCKETS
    assert one.first_token.count == 9999
