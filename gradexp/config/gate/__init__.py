"""Checks on what a config may name, import, read and write."""
