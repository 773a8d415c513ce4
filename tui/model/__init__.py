"""State behind the screens, free of textual."""
