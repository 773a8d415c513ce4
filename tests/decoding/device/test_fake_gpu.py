"""Protects the fake GPU's eyes: each fault that it is there for, it sees."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from spectui.decoding.device.clock import Clock
from spectui.decoding.device.graphs import Graphs
from tests.fake_gpu import PAGEABLE, PINNED, WAIT, FakeGpu
from tests.fake_gpu.seen import MANY_DEVICES, NOT_READY


@pytest.fixture
def gpu() -> Iterator[FakeGpu]:
    with FakeGpu() as machine, torch.inference_mode():
        yield machine


def test_a_value_that_python_computed_is_as_old_as_the_capture(gpu: FakeGpu) -> None:
    x, add = torch.zeros(2, device="cuda"), [1.0]
    graphs = Graphs(x.device)
    assert graphs.run("adds", lambda: x + add[0]).tolist() == [1.0, 1.0]
    add[0] = 5.0
    x.fill_(1.0)
    assert graphs.run("adds", lambda: x + add[0]).tolist() == [2.0, 2.0]
    assert gpu.captures == 1


def test_what_a_graph_returned_is_spoilt_by_another_of_its_pool(gpu: FakeGpu) -> None:
    x = torch.ones(2, device="cuda")
    graphs, apart = Graphs(x.device), Graphs(x.device)
    first = graphs.run("first", lambda: x + 1)
    apart.run("second", lambda: x + 2)
    assert first.tolist() == [2.0, 2.0]
    graphs.run("second", lambda: x + 2)
    assert first.isnan().tolist() == [True, True]


def test_a_graph_that_reads_memory_which_was_freed_is_reported(gpu: FakeGpu) -> None:
    held = [torch.ones(2, device="cuda")]
    graphs = Graphs(held[0].device)
    graphs.run("adds", lambda: held[0] + 1)
    assert gpu.problems == []
    held[0] = torch.ones(2, device="cuda")
    graphs.run("adds", lambda: held[0] + 1)
    assert len(gpu.problems) == 1


def test_tensors_that_do_not_lie_together_are_refused(gpu: FakeGpu) -> None:
    x = torch.ones(2, device="cuda")
    for other in (torch.ones(2), torch.ones(2, device="cuda:1")):
        with pytest.raises(RuntimeError, match=MANY_DEVICES):
            x + other
    assert (x + torch.tensor(1.0)).tolist() == [2.0, 2.0]  # a number goes with the kernel


def test_waits_and_uploads_are_noted_by_what_they_are(gpu: FakeGpu) -> None:
    x, at = torch.arange(4, device="cuda"), torch.tensor(1, device="cuda")
    gpu.seen.clear()
    for reads in (
        lambda: x[at], lambda: x[x > 1], lambda: bool(at), at.item, lambda: float(at), x.cpu, x.tolist,
        lambda: x.nonzero(), lambda: x.repeat_interleave(x), lambda: torch.equal(x, x),
    ):  # fmt: skip
        reads()
        assert gpu.count(WAIT) == 1, gpu.seen
        gpu.seen.clear()
    torch.arange(4).to("cuda", non_blocking=True)
    assert (gpu.count(PAGEABLE), gpu.count(WAIT)) == (1, 0)
    x.copy_(torch.arange(4).pin_memory())
    assert (gpu.count(PINNED), gpu.count(WAIT)) == (1, 1)
    gpu.seen.clear()
    assert x[[0, 1]].tolist() == [0, 1]
    assert (gpu.count(PAGEABLE), gpu.count(WAIT)) == (1, 2)


def test_a_time_is_read_once_the_device_has_come_past_it(gpu: FakeGpu) -> None:
    clock, x = Clock(torch.device("cuda", 0)), torch.ones(2, device="cuda")
    start, end = clock.mark(), clock.mark()
    with pytest.raises(RuntimeError, match=NOT_READY):
        clock.seconds(start, end)
    x.cpu()
    assert clock.seconds(start, end) >= 0.0
