"""Trees of tokens: shapes and their names, costs, acceptance profiles, and the choice of one. Torch-free.

`advise` weighs trees on a recorded session; nothing that decodes needs it.
"""
