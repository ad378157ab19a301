"""Benchmarks: the standard workloads, ours beside a peer's, interleaved in one run."""
