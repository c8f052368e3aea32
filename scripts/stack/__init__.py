"""The native stack: every server of the pipeline on this machine, without containers.

Use it as `python -m stack up`, or from a test: `Stack(home).start("mysql")`.
"""

from stack.errors import StackError
from stack.stack import Stack

__all__ = ["Stack", "StackError"]
