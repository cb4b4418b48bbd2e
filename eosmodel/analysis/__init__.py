"""Analysis of maps and runs: cycles and their stability, continuation, orbits, portraits, regimes, symbolics."""
