"""Fetch a bundle of jars with Maven, by coordinates."""

import os
from pathlib import Path

from stack.errors import StackError
from stack.install.java import Java
from stack.install.pins import Pin
from stack.layout import REPO, Layout
from stack.process import run
from stack.progress import Reporter

COPY = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies"
NO_SUCH = ("Could not find artifact", "was not found in")


def fetch(layout: Layout, pin: Pin, java: Java, into: Path, reporter: Reporter) -> None:
    """Copy a pom's runtime dependencies into a folder."""
    repository = layout.cache / "maven"
    log = layout.log(f"fetch-{pin.name}")

    def arrived() -> int:
        files = (path for path in repository.rglob("*") if path.name.startswith(tuple(pin.files)))
        return sum(_size(path) for path in files)

    with reporter.download(f"{pin.name} {pin.version}", pin.size, arrived):
        argv = [
            "mvn",
            "--batch-mode",
            "--quiet",
            f"--file={REPO / pin.pom}",
            f"-Dmaven.repo.local={repository}",
        ]
        argv += [COPY, "-DincludeScope=runtime", f"-DoutputDirectory={into}"]
        try:
            run(argv, env={**os.environ, "JAVA_HOME": str(java.home)}, log=log)
        except StackError as error:
            said = log.read_text(errors="replace")
            if any(words in said for words in NO_SUCH):
                why = "a package that it names is not in the registry"
            else:
                why = "the package registry could not be reached or did not answer"
            raise StackError(
                f"Maven could not fetch {pin.name} {pin.version}: {why}",
                f"Check the network and Maven's settings, then run `up` again; {log.name} has the details.",
            ) from error


def _size(path: Path) -> int:
    try:
        return path.stat().st_size if path.is_file() and path.suffix != ".sha1" else 0
    except OSError:
        return 0
