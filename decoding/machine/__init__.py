"""The machine a run decodes on: its GPU, energy, kernels and installed software."""
