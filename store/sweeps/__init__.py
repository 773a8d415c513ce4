"""Sweeps: sessions of every combination of some drafters, trees, temperatures and tasks, and their comparison."""
