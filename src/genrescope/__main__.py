"""`python -m genrescope` is the same as `genrescope`."""

from genrescope.cli import main

main()
