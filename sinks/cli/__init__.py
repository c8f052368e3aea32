"""The command line, ``cdc``."""
