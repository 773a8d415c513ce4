"""The best tree for a recorded session: its estimated tokens and costs, and the verdict."""
