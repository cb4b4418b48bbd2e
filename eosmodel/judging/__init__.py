"""Runs and theories judged: the scoreboard, the papers' claims, findings about batch sizes, criteria of validation."""
