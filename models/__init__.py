"""Networks and losses. Knows tensors only: nothing here reads data sets, artifacts or flows."""
