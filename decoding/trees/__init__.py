"""Which tree pays for which task: what-if replay of recorded rounds, advice, budget files, learning while running.

Torch-free, so that the command line and the dashboard use it as they are.
"""
