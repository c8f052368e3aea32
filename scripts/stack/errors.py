"""The error of this package, and its echo in steps that run beside the one that failed."""


class StackError(Exception):
    """Something the stack needs is missing or failed; says what, and what mends it."""

    def __init__(self, what: str, mend: str) -> None:
        super().__init__(f"{what.rstrip('.')}. {mend}")
        self.what = what
        self.mend = mend


class CancelledError(Exception):
    """Ends a step because another one has failed, or because the user gave up."""
