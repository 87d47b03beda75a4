"""numclip side by side with what one would use instead: `python -m asv_benchmarks.compare`."""
