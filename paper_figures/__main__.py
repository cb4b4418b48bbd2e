"""`python -m paper_figures` draws the figures."""

from paper_figures._command import main

main()
