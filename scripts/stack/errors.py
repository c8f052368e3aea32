"""The one error of this package."""


class StackError(Exception):
    """Something the stack needs is missing or failed; says what, and what mends it."""

    def __init__(self, what: str, mend: str) -> None:
        super().__init__(f"{what.rstrip('.')}. {mend}")
        self.what = what
        self.mend = mend
