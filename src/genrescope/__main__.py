"""Make `python -m genrescope` the same as `genrescope`."""

from genrescope.cli import run

run()
