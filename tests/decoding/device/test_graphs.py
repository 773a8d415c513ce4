"""Protects captures from each other: one that is refused or goes wrong leaves nothing behind, and says why."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
import torch
from torch.nn.attention import SDPBackend

from spectui.decoding.device import attention
from spectui.decoding.device.attention import AttentionShape
from spectui.decoding.device.graphs import WARM_UPS, Graphs
from spectui.decoding.target.distributions import distribution
from tests.fake_gpu import FakeGpu
from tests.fake_gpu.seen import NOT_PERMITTED, STALE_POOL, SYNCHRONISING


def test_a_wait_is_refused_before_a_capture_begins_and_its_line_is_named() -> None:
    """Nothing is left behind: other functions are captured as before."""
    with FakeGpu() as gpu:
        x, ours = torch.ones(1, 3, device="cuda"), torch.cuda.current_stream()
        graphs, others = Graphs(x.device), Graphs(x.device)
        assert graphs.run("reads", lambda: distribution(x, 1.0, 0.9)).shape == x.shape
        assert graphs.failed
        assert graphs.reason is not None
        assert graphs.reason.startswith(f"capturing failed: {SYNCHRONISING} ({distribution.__module__}:")
        assert torch.cuda.current_stream() is ours
        assert (gpu.captures, gpu.underway, torch.cuda.get_sync_debug_mode()) == (0, 0, 0)
        assert others.run("adds", lambda: x + 1).tolist() == [[2.0, 2.0, 2.0]]
        assert (others.reason, others.failed, gpu.captures) == (None, False, 1)


def test_a_capture_that_fails_is_cleaned_up_and_none_is_begun_after_it() -> None:
    """Its reason is what went wrong inside, not what the end of the capture said."""
    with FakeGpu() as gpu:
        x, ours = torch.ones(1, 3, device="cuda"), torch.cuda.current_stream()
        graphs, others, calls = Graphs(x.device), Graphs(x.device), list[int]()

        def reads_at_last() -> torch.Tensor:
            calls.append(1)
            return distribution(x, 1.0, 0.9, wait=len(calls) == WARM_UPS + 1)

        assert graphs.run("reads", reads_at_last).shape == x.shape
        assert graphs.reason is not None
        assert graphs.reason.startswith(f"capturing failed: {NOT_PERMITTED} ({distribution.__module__}:")
        assert torch.cuda.current_stream() is ours
        assert (gpu.captures, gpu.underway, torch.cuda.get_sync_debug_mode()) == (0, 0, 0)
        assert others.run("adds", lambda: x + 1).tolist() == [[2.0, 2.0, 2.0]]
        assert (others.reason, others.failed, gpu.captures) == (graphs.reason, True, 0)
        assert not Graphs(torch.device("cpu")).failed


def test_memory_that_runs_out_in_a_capture_leaves_the_stream_and_the_allocator_as_they_were() -> None:
    with FakeGpu() as gpu:
        x, ours, calls = torch.arange(3, device="cuda"), torch.cuda.current_stream(), list[int]()

        def runs_out() -> torch.Tensor:
            calls.append(1)
            if len(calls) == WARM_UPS + 1:
                raise torch.OutOfMemoryError("CUDA out of memory")
            return x + 1

        graphs = Graphs(x.device)
        with pytest.raises(torch.OutOfMemoryError):
            graphs.run("adds", runs_out)
        assert torch.cuda.current_stream() is ours
        assert gpu.underway == 0
        assert graphs.run("adds", runs_out).tolist() == [1, 2, 3]
        assert graphs.reason is None


def test_memory_that_runs_out_in_a_capture_is_told_though_its_end_raises_another_error() -> None:
    with FakeGpu() as gpu:
        x, calls = torch.arange(3, device="cuda"), list[int]()

        def runs_out() -> torch.Tensor:
            calls.append(1)
            if len(calls) == WARM_UPS + 1:
                assert gpu.capture is not None
                gpu.capture.invalid = True
                raise torch.OutOfMemoryError("CUDA out of memory")
            return x + 1

        graphs = Graphs(x.device)
        with pytest.raises(torch.OutOfMemoryError):
            graphs.run("adds", runs_out)
        assert gpu.underway == 0
        assert graphs.run("adds", runs_out).tolist() == [1, 2, 3]
        assert graphs.reason is None


def test_a_probe_that_cannot_be_captured_stops_no_other_capture() -> None:
    """An attention kernel that fails in a capture alone is not chosen, and forwards are captured with another."""
    with FakeGpu() as gpu:
        x, calls = torch.ones(1, 3, device="cuda"), list[int]()
        shape = AttentionShape(1, 2, 8, 4, torch.float32, x.device)

        def reads_at_last(query: torch.Tensor, *_: Any, **__: Any) -> torch.Tensor:
            calls.append(1)
            if gpu.capture is not None:
                query.tolist()
            return query + 1

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(attention, "scaled_dot_product_attention", reads_at_last)
            assert attention.fastest_kernel.__wrapped__(shape, (SDPBackend.MATH,)) is None
        assert len(calls) > attention.CALLS * WARM_UPS
        others = Graphs(x.device)
        assert others.run("adds", lambda: x + 1).tolist() == [[2.0, 2.0, 2.0]]
        assert (others.reason, gpu.captures, gpu.underway) == (None, 1, 0)


def test_warnings_of_a_captured_function_are_given() -> None:
    """All but torch's own of the means that find out what can be captured."""
    with FakeGpu():
        x = torch.arange(3, device="cuda")

        def warns() -> torch.Tensor:
            warnings.warn("deprecated", UserWarning, stacklevel=2)
            return x + 1

        with warnings.catch_warnings(record=True) as seen:
            warnings.simplefilter("always")
            Graphs(x.device).run("adds", warns)
        assert [str(one.message) for one in seen] == ["deprecated"] * (WARM_UPS + 1)


def test_a_capture_of_nothing_is_refused() -> None:
    """As of kernels that run on another device than the graph's; others are captured as before."""
    with FakeGpu():
        x, graphs = torch.arange(3, device="cuda:0"), Graphs(torch.device("cuda", 1))
        assert graphs.run("adds", lambda: x + 1).tolist() == [1, 2, 3]
        assert graphs.reason is not None
        assert "nothing was captured" in graphs.reason
        assert Graphs(x.device).reason is None


def test_a_capture_that_is_refused_before_it_begins_stops_no_other() -> None:
    with FakeGpu() as gpu:
        x, graphs = torch.arange(3, device="cuda"), Graphs(torch.device("cuda", 0))
        returned = graphs.run("adds", lambda: x + 1)
        graphs._kept.clear()  # the pool is still there, without a graph: the allocator refuses it while a tensor lives
        graphs.run("adds", lambda: x + 1)
        assert graphs.reason is not None
        assert STALE_POOL in graphs.reason
        assert returned.shape == x.shape
        assert (Graphs.broken, Graphs(x.device).reason, gpu.underway) == (None, None, 0)


def test_graphs_of_another_device_than_the_current_one() -> None:
    with FakeGpu() as gpu:
        x = torch.arange(3, device="cuda:1")
        graphs = Graphs(x.device)
        for add in range(3):
            x.fill_(add)
            assert graphs.run("adds", lambda: x + 1).tolist() == [add + 1] * 3
        assert (graphs.reason, gpu.captures, gpu.replays) == (None, 1, 3)
