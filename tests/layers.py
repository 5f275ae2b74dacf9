"""The layers of pipeline/."""

# Top layer first: a layer imports only layers below it. Rooms of one layer don't know each other.
LAYERS = (
    ("study",), ("run",), ("report", "stages"), ("training",), ("networks",), ("weak_labels",), ("flow",), ("store",),
    ("demo_data", "scoring"), ("datasets",), ("pages", "formats"), ("settings",), ("basics",), ("graph",),
    ("errors", "names"),
)  # fmt: skip
