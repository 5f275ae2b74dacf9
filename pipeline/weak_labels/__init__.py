"""Weak labels, pure: regions in boxes, motion in boxes, verdicts."""
