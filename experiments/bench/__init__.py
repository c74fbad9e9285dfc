"""What the benchmarks share, and the parts of them that run in processes of their own."""
