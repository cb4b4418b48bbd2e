"""Judging runs and theories by their numbers: the scoreboard, claims of papers, batch sizes, criteria of validation."""
