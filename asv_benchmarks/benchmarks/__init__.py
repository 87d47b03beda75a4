"""Benchmarks for asv, one module to each of numclip's, and the workloads and peers they share."""
