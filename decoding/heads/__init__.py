"""The parts that draft heads of all kinds share: their layers, their configurations and their files."""
