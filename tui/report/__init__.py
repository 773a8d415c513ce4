"""A report as tables, text, CSV, charts and a page: everything that is shown, made from `store.analysis`."""
