"""Streamed answers of servers, read into rounds: a module for each source of them."""
