"""Benchmarks of decoding: plain against speculative, drafter against drafter."""
