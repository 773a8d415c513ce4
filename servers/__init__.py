"""Other people's servers: their addresses, answers, metrics, and runs of our prompts on them."""
