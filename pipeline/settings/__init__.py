"""A run's settings: every number has its one home in `sections`."""
