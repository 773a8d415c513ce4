"""A GPU made of the CPU: tensors that say ``cuda`` and carry values, and as much of `torch.cuda` as graphs need.

`FakeGpu` stands in for the device while it is entered; the code under test, `Graphs` included, is untouched. It

- refuses operations on tensors of several devices, and host reads and transfers inside a capture, as CUDA does;
- notes every wait for the device and every upload with the line that caused it (C++ reads of a value included);
- records the *operations* of a captured function and replays those: what Python computed is as old as the capture;
- overwrites, when a graph runs, all that the other graphs of its memory pool have returned;
- refuses, as the allocator does, a pool whose graphs are gone while one of their tensors lives;
- reports graphs that read memory which was freed since they were captured.

It proves nothing about streams that race, about waits inside libraries, or about speed.
"""

from tests.fake_gpu.machine import FakeGpu
from tests.fake_gpu.seen import PAGEABLE, PINNED, WAIT, Seen

__all__ = ["PAGEABLE", "PINNED", "WAIT", "FakeGpu", "Seen"]
