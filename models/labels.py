"""Values of masks and labels. Apart from `losses`, so that who only reads masks needn't wait for PyTorch to load."""

VOID = 255  # counts neither way
