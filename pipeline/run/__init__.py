"""A run in progress: what was asked for, what is found, what is computed."""
