"""What a result is: names and units, labelled records and files, statistics of one run, regimes."""
