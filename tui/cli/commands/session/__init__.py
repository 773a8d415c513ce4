"""Commands of `spectui sessions` in modules of their own."""
