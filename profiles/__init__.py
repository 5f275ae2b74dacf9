"""Runs as TOML files, shipped with the package."""
