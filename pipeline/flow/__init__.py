"""Optical flow: estimating it, taking the camera's motion out, colouring it, and all of that for a video."""
