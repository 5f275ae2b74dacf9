"""Data sets: what they consist of (manifests), finding their files, reading and checking them."""
