"""The kinds of drafter, and a registry that says what each needs and offers."""
