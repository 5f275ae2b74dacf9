"""What the values of a label picture mean, for those who need no tensors."""

VOID = 255  # counts neither as object nor as background
