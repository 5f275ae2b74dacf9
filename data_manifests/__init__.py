"""Data sets as YAML files, shipped with the package."""
