"""Turn what was fetched into folders that servers run from."""

import shutil
import subprocess
import tarfile
import threading
import zipfile
from pathlib import Path

from stack.errors import CancelledError, StackError
from stack.files import build_aside, exclusive
from stack.install import debian, maven
from stack.install.java import Java, find
from stack.install.pins import Pin, pins
from stack.layout import HERE, REPO, Layout
from stack.process import run
from stack.progress import Reporter

NODE_SOURCES = HERE / "elasticsearch-node"
CONVERTER_SOURCES = REPO / "connect" / "converter"
OF_THE_RUNTIME = ("kafka-clients", "connect-api", "connect-json", "slf4j-api")
LAYOUT_OF_BUNDLES = b"2"
JAVA_WRAPPER = """#!/bin/sh
# This JDK is of another Debian release than the machine: it runs with that release's own C library.
root={root}
exec "$root/ld-linux-x86-64.so.2" --library-path "$root:{home}/lib" "{home}/bin/{tool}.real" "$@"
"""


class Installer:
    """Gives the folder of a bundle; fetches and unpacks it first if this cache hasn't got it."""

    def __init__(self, layout: Layout, reporter: Reporter) -> None:
        self._layout = layout
        self._reporter = reporter
        self._java: Java | None = None
        self.cancelled = threading.Event()

    def java(self) -> Java:
        """Return a JDK of the machine, or Debian's unpacked into the cache."""
        with exclusive(self._layout.cache / "locks" / "java"):
            self._java = self._java or find() or self._private_java()
            return self._java

    def folder(self, name: str) -> Path:
        """Return where a bundle lies or will lie."""
        sources = {"elasticsearch": NODE_SOURCES, "connect-plugins": CONVERTER_SOURCES}.get(name)
        ingredients = [path.read_bytes() for path in sorted(sources.rglob("*.*"))] if sources else []
        return self._layout.cache / "servers" / pins()[name].key(LAYOUT_OF_BUNDLES, *ingredients)

    def missing(self) -> list[Pin]:
        """Return the bundles that still have to be fetched."""
        return [pin for name, pin in pins().items() if name != "jdk" and not self.folder(name).exists()]

    def go_on(self) -> None:
        """Raise if the work of all threads was cancelled."""
        if self.cancelled.is_set():
            raise CancelledError

    def tidy(self) -> None:
        """Remove what the downloads left once everything is unpacked."""
        repository = self._layout.cache / "maven"
        if repository.exists() and not any(pin.pom for pin in self.missing()):
            with exclusive(self._layout.cache / "locks" / "maven"):
                shutil.rmtree(repository, ignore_errors=True)

    def ensure(self, name: str) -> Path:
        """Return a bundle's folder, ready to use."""
        target = self.folder(name)
        if target.exists():
            return target
        with exclusive(self._layout.cache / "locks" / name):
            if not target.exists():
                with build_aside(target) as aside:
                    self._build(name, aside)
        return target

    def _build(self, name: str, aside: Path) -> None:
        pin = pins()[name]
        if pin.suite:
            debian.fetch(self._layout, pin, aside, self._reporter)
            return
        fetched = aside / "fetched"
        java = self.java()
        with exclusive(self._layout.cache / "locks" / "maven"):
            self.go_on()
            maven.fetch(self._layout, pin, java, fetched, self._reporter)
        pin.check(fetched)
        arrange = {
            "kafka": self._kafka,
            "connect-plugins": self._connect_plugins,
            "registry": self._registry,
            "postgres": self._postgres,
            "elasticsearch": self._elasticsearch,
        }
        arrange[name](fetched, aside)
        shutil.rmtree(fetched, ignore_errors=True)

    def _kafka(self, fetched: Path, aside: Path) -> None:
        fetched.rename(aside / "lib")

    def _connect_plugins(self, fetched: Path, aside: Path) -> None:
        for archive in fetched.glob("*.tar.gz"):
            _untar(archive, aside)
            archive.unlink()
        converter = aside / "avro-converter"
        fetched.rename(converter)
        self._compile(CONVERTER_SOURCES, [converter], converter / "null-keeping-converter.jar", release=17)
        for prefix in OF_THE_RUNTIME:
            for jar in converter.glob(f"{prefix}-*.jar"):
                jar.unlink()

    def _registry(self, fetched: Path, aside: Path) -> None:
        for archive in fetched.glob("*.tar.gz"):
            _untar(archive, aside)

    def _postgres(self, fetched: Path, aside: Path) -> None:
        for jar in fetched.glob("*.jar"):
            with zipfile.ZipFile(jar) as content:
                inner = next(name for name in content.namelist() if name.endswith(".txz"))
                content.extract(inner, fetched)
            _untar(fetched / inner, aside)
        run(["chmod", "-R", "a+rX", str(aside)])

    def _elasticsearch(self, fetched: Path, aside: Path) -> None:
        transport = aside / "modules" / "transport-netty4"
        transport.mkdir(parents=True)
        for prefix in ("transport-netty4-", "netty-", "elasticsearch-ssl-config-"):
            for jar in fetched.glob(f"{prefix}*.jar"):
                jar.rename(transport / jar.name)
        own_jar = next(transport.glob("transport-netty4-*.jar"))
        with zipfile.ZipFile(own_jar) as content:
            inside = "META-INF/es-plugins/transport-netty4/"
            for name in content.namelist():
                if name.startswith(inside) and not name.endswith("/"):
                    (transport / Path(name).name).write_bytes(content.read(name))
        library = fetched.rename(aside / "lib")
        self._compile(NODE_SOURCES / "launcher", [library], aside / "launcher.jar", release=21)
        root = aside / "modules" / "rest-root"
        root.mkdir()
        shutil.copy(NODE_SOURCES / "rest-root" / "plugin-descriptor.properties", root)
        self._compile(NODE_SOURCES / "rest-root", [library], root / "rest-root.jar", release=21)

    def _compile(self, sources: Path, libraries: list[Path], jar: Path, *, release: int) -> None:
        classes = jar.with_suffix(".classes")
        class_path = ":".join(str(path) for folder in libraries for path in sorted(folder.glob("*.jar")))
        files = [str(path) for path in sorted(sources.rglob("*.java"))]
        argv = [*self.java().compile(), "--release", str(release), "-nowarn", "-proc:none", "-cp", class_path]
        run([*argv, "-d", str(classes), *files], log=self._layout.log("compile"))
        with zipfile.ZipFile(jar, "w") as out:
            for root in (classes, sources):
                for path in [*sorted(root.rglob("*.class")), *sorted(root.rglob("META-INF/services/*"))]:
                    out.write(path, path.relative_to(root))
        shutil.rmtree(classes)

    def _private_java(self) -> Java:
        root = self.ensure("jdk")
        home = next((root / "usr" / "lib" / "jvm").glob("java-*-openjdk-*"))
        libraries = root / "usr" / "lib" / "x86_64-linux-gnu"
        if not (home / "bin" / "java.real").exists() and not _runs(home / "bin" / "java"):
            for tool in ("java", "javac"):
                command = home / "bin" / tool
                command.rename(command.with_name(f"{tool}.real"))
                command.write_text(JAVA_WRAPPER.format(root=libraries, home=home, tool=tool))
                command.chmod(0o755)
        if not _runs(home / "bin" / "java"):
            raise StackError(
                "no JDK 21 or newer on this machine, and Debian's does not run here",
                "Install a JDK 21 or newer (with javac) and run `up` again.",
            )
        return Java(home, int(pins()["jdk"].version))


def _runs(command: Path) -> bool:
    return subprocess.run([command, "--version"], capture_output=True, check=False).returncode == 0  # noqa: S603 - ours


def _untar(archive: Path, into: Path) -> None:
    with tarfile.open(archive) as content:
        if hasattr(tarfile, "tar_filter"):
            content.extractall(into, filter="tar")
        else:  # Python before 3.11.4
            content.extractall(into)  # noqa: S202 - its hash was checked
