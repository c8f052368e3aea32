"""What must be there before anything is fetched or started."""

import os
import platform
import shutil

from stack.errors import StackError
from stack.install import debian
from stack.install.bundles import Installer
from stack.install.java import find
from stack.layout import Layout
from stack.servers.mysql import installed

GIGABYTE = 1_000_000_000
FREE_FOR_FIRST_START = 4 * GIGABYTE
FREE_FOR_A_START = GIGABYTE


def check(layout: Layout, installer: Installer) -> None:
    """Raise for the first thing that is missing."""
    if platform.system() != "Linux" or platform.machine() != "x86_64":
        raise StackError(
            f"the native stack runs on Linux on x86-64, this is {platform.system()} on {platform.machine()}",
            "Use docker compose here.",
        )
    missing = installer.missing()
    if os.geteuid() == 0 and not shutil.which("setpriv"):
        raise StackError("setpriv is missing (PostgreSQL refuses to run as root)", "Install util-linux.")
    _disk(layout, first=bool(missing))
    if not missing:
        return
    fetches_debian = any(pin.suite for pin in missing) and installed() is None
    if fetches_debian or find() is None:
        _debian()
    if any(pin.pom for pin in missing) and not shutil.which("mvn"):
        raise StackError("Maven (mvn) is missing", "Install it: apt-get install maven.")


def _disk(layout: Layout, *, first: bool) -> None:
    needed = FREE_FOR_FIRST_START if first else FREE_FOR_A_START
    for folder, what in ((layout.cache, "the cache (CDC_CACHE)"), (layout.home, "the state (CDC_HOME)")):
        free = shutil.disk_usage(folder).free
        if free < needed:
            raise StackError(
                f"only {free / GIGABYTE:.1f} GB are free for {what}, {needed / GIGABYTE:.0f} GB are needed",
                "Make room, or let the variable name a folder on another disk.",
            )


def _debian() -> None:
    for tool in ("apt-get", "dpkg-deb"):
        if not shutil.which(tool):
            raise StackError(
                f"{tool} is missing, by which MySQL (or a JDK) would be fetched",
                "Install MySQL 8.4 or newer (mysqld) and a JDK 21 or newer by hand, then run `up` again.",
            )
    if debian.mirror() is None:
        raise StackError(
            "this machine's apt sources name no Debian mirror, from which MySQL (or a JDK) would be fetched",
            "Add one, or install MySQL 8.4 or newer by hand and name it: CDC_MYSQLD=…/mysqld.",
        )
