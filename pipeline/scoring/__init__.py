"""J and F of masks under the protocols of the benchmarks."""
