"""Work after a commit, off the request path: a bounded pool that loses nothing silently."""

from sinks.background.executor import Executor, Full, Handler, Options
from sinks.background.store import Task, TaskStore

__all__ = ["Executor", "Full", "Handler", "Options", "Task", "TaskStore"]
