"""The built-in data: scenes rendered from a seed, written in the real data sets' layouts."""
