"""Many runs: independent blocks, each a file that knows what it is, and where they are computed."""
