"""How fast numclip is: asv's benchmarks, and the comparison with what one would use instead."""
