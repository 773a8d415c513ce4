"""Rounds in buffers of fixed size: what a GPU can capture and replay, and a CPU runs the same way for the tests.

`model` pads trees to a few sizes, `cache` gathers accepted paths where they lie, `capture` replays forwards as
CUDA graphs, `draft` grows a static tree without looking at it, `acceptance` judges it there, and `round` puts these
together with one wait for the device.
"""
