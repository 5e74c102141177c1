"""How fast, as ratios to a limit measured in the same run: ``make bench``, or ``python -m benchmarks [CASE ...]``."""
