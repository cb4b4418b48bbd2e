"""`python -m eosmodel` is the command line."""

from eosmodel.cli import main

main()
