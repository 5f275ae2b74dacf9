"""The training loop, and what goes into it."""
