"""`python -m stack`: the commands behind scripts/up and scripts/down."""

from stack.cli import main

main()
