"""Trained weights, shipped with the package: a folder a set, with its model card and its licence."""
