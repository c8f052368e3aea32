"""Write the lock file anew, after a version was changed in it or in a pom."""

import tempfile
from dataclasses import replace
from pathlib import Path

from stack.errors import StackError
from stack.files import write_whole
from stack.install import debian, maven
from stack.install.bundles import Installer
from stack.install.pins import LOCK, Pin, pins, written
from stack.layout import Layout
from stack.progress import Reporter


def relock(layout: Layout, reporter: Reporter) -> None:
    """Fetch every bundle as it is asked for now, and note sizes and hashes of what came."""
    header = LOCK.read_text().partition("\n[")[0]
    java = Installer(layout, reporter).java()
    sections = []
    for name, pin in pins().items():
        with tempfile.TemporaryDirectory(dir=layout.cache) as scratch:
            folder = Path(scratch) / "files"
            if pin.pom:
                maven.fetch(layout, pin, java, folder, reporter)
                sections.append(written(name, pin, folder))
            else:
                sections.append(_debian(layout, pin, reporter))
    write_whole(LOCK, "\n".join([header, *sections]))


def _debian(layout: Layout, pin: Pin, reporter: Reporter) -> str:
    source = debian.mirror()
    if source is None:
        raise StackError("this machine's apt sources name no Debian mirror", "Add one.")
    apt = debian.Apt(layout, pin.suite, source)
    apt.get("update")
    version = apt.offered(pin.packages[0])[0] if pin.files else pin.version
    with reporter.download(f"{pin.name} {version}", pin.size, apt.arrived):
        apt.get("install", "--download-only", "--yes", *pin.packages)
    named = tuple(f"{package}_" for package in pin.packages) if pin.files else ()
    kept = {
        path.name: (0, "") for path in apt.archives.glob("*.deb") if named and path.name.startswith(named)
    }
    section = written(pin.name, replace(pin, version=version, files=kept), apt.archives)
    apt.remove()
    return section
