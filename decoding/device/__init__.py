"""Decoding in buffers of fixed size, which a GPU captures as graphs and does not wait for between the parts of a round.

`model` and `cache` run forwards padded to a few sizes, `graphs` replays them, `growth` and `dynamic_tree` grow a tree
without looking at it, `acceptance` judges it, and `rounds` puts these together: the host waits once a round.
"""
