"""PostgreSQL, the replica. It refuses to run as root: then it runs as nobody, where nobody may reach it."""

import hashlib
import os
import shutil
import signal
import stat
from pathlib import Path

import psycopg2
from psycopg2 import sql
from psycopg2.extensions import connection

from stack.errors import StackError
from stack.files import build_aside, write_whole
from stack.process import Launch, run
from stack.servers.base import HOST, Context, Server

NOBODY = 65_534
REACHABLE = Path("/var/tmp")  # noqa: S108 - our folder in it is made for us alone, and checked
SETTINGS = {
    "listen_addresses": HOST,
    "unix_socket_directories": "",
    "shared_buffers": "128MB",
    "max_connections": "200",
    "max_wal_size": "1GB",
    "timezone": "UTC",
    "log_timezone": "UTC",
}


class Postgres(Server):
    """The replica database."""

    name = "postgres"
    bundles = ("postgres",)
    listeners = {"postgres": 5432}  # noqa: RUF012 - a constant of the class
    stop_signal = signal.SIGINT

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._root = os.geteuid() == 0
        if self._root and not reachable(self.folder):
            digest = hashlib.sha256(str(self.folder).encode()).hexdigest()[:12]
            self.folder = REACHABLE / f"cdc-stack-{digest}"

    def prepare(self) -> None:
        """Make the data folder at the first start."""
        if self._root:
            self._own(self.folder)
        else:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        data = self.folder / "data"
        if data.exists():
            return
        password_file = self.folder / "password"
        write_whole(password_file, self.context.state.password("postgres-superuser"), 0o600)
        if self._root:
            os.chown(password_file, NOBODY, NOBODY)
        with build_aside(data) as aside:
            aside.chmod(0o700)
            if self._root:
                os.chown(aside, NOBODY, NOBODY)
            options = [
                "--username=postgres",
                "--auth=scram-sha-256",
                f"--pwfile={password_file}",
                "--encoding=UTF8",
            ]
            options += ["--locale-provider=builtin", "--locale=C.UTF-8", f"--pgdata={aside}"]
            run([*self._command("initdb"), *options], log=self.context.layout.log(self.name), cwd=Path("/"))
        password_file.unlink()

    def launch(self) -> Launch:
        """Run the server on the instance's data."""
        settings = [f"--{key}={value}" for key, value in {**SETTINGS, "port": str(self.port())}.items()]
        return Launch([*self._command("postgres"), "-D", str(self.folder / "data"), *settings])

    def answers(self) -> bool:
        """Tell whether it answers SQL."""
        try:
            self.connect().close()
        except psycopg2.OperationalError:
            return False
        return True

    def settle(self) -> None:
        """Create the role and the database of the replica."""
        link = self.connect()
        try:
            link.autocommit = True
            with link.cursor() as cursor:
                cursor.execute("SELECT 1 FROM pg_roles WHERE rolname = 'cdc'")
                verb = "ALTER" if cursor.fetchone() else "CREATE"
                password = sql.Literal(self.context.state.password("postgres-cdc"))
                cursor.execute(sql.SQL(verb + " ROLE cdc LOGIN PASSWORD {}").format(password))
                cursor.execute("SELECT 1 FROM pg_database WHERE datname = 'replica'")
                if not cursor.fetchone():
                    cursor.execute("CREATE DATABASE replica OWNER cdc")
        finally:
            link.close()

    def dsn(self) -> str:
        """Return the address of the replica for its owner, in libpq's form."""
        password = self.context.state.password("postgres-cdc")
        return f"postgresql://cdc:{password}@{self.context.address('postgres')}/replica"

    def connect(self) -> connection:
        """Connect as superuser."""
        password = self.context.state.password("postgres-superuser")
        return psycopg2.connect(
            host=HOST,
            port=self.port(),
            user="postgres",
            password=password,
            dbname="postgres",
            connect_timeout=5,
        )

    def wipe(self) -> None:
        """Remove the data folder where it lies outside the instance."""
        if self.folder.is_relative_to(REACHABLE) and self.folder.is_dir() and self.folder.owner() == "root":
            shutil.rmtree(self.folder)

    def _command(self, tool: str) -> list[str]:
        binary = self._binaries() / "bin" / tool
        drop = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"] if self._root else []
        return [*drop, str(binary)]

    def _binaries(self) -> Path:
        """Return the programs; as root, a copy that nobody can reach if the cache is out of its reach."""
        bundle = self.bundle("postgres")
        if not self._root or reachable(bundle):
            return bundle
        copy = REACHABLE / "cdc-stack-programs" / bundle.name
        self._own(copy.parent)
        if not copy.exists():
            with build_aside(copy) as aside:
                shutil.copytree(bundle, aside, symlinks=True, dirs_exist_ok=True)
        return copy

    def _own(self, folder: Path) -> None:
        """Make a folder that belongs to root, and refuse one that somebody else made before us."""
        folder.mkdir(mode=0o755, parents=True, exist_ok=True)
        found = folder.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != 0 or found.st_mode & 0o022:
            raise StackError(f"{folder.name} in {folder.parent} is not a folder of root alone", "Remove it.")


def reachable(path: Path) -> bool:
    """Tell whether an unprivileged user can walk down to a path (whose last parts may not exist yet)."""
    return all(folder.stat().st_mode & 0o001 for folder in [path, *path.parents] if folder.exists())
