"""MySQL, the source: row-based binlog with GTIDs."""

import hashlib
import os
import re
import shutil
from pathlib import Path
from typing import Any

import pymysql
from pymysql.constants import CLIENT

from stack.errors import StackError
from stack.files import build_aside, write_whole
from stack.layout import REPO
from stack.process import Launch, output, run
from stack.servers.base import HOST, Server

SETTINGS = """[mysqld]
{identity}
bind-address = {host}
port = {port}
socket = mysql.sock
pid-file = mysqld.pid
mysqlx = 0
secure-file-priv = ""

server-id = 1
log-bin = binlog
gtid-mode = ON
enforce-gtid-consistency = ON
binlog-row-image = FULL
binlog-row-metadata = FULL
binlog-expire-logs-seconds = 604800
sync-binlog = 1
innodb-flush-log-at-trx-commit = 1

character-set-server = utf8mb4
default-time-zone = +00:00
max-allowed-packet = 64M
max-connections = 200
innodb-buffer-pool-size = 256M
innodb-redo-log-capacity = 256M
local-infile = 1
"""
OLDEST_INSTALLED = (8, 4)


class MySQL(Server):
    """The source database."""

    name = "mysql"
    bundles = ("mysql",)
    listeners = {"mysql": 3306}  # noqa: RUF012 - a constant of the class
    stop_seconds = 60

    def needed_bundles(self) -> tuple[str, ...]:
        """Need no packages where the machine's own mysqld is taken."""
        return () if installed() else self.bundles

    def prepare(self) -> None:
        """Write the configuration, and make the data folder at the first start."""
        super().prepare()
        write_whole(self._config, SETTINGS.format(identity=self._identity(), host=HOST, port=self.port()))
        if self._data.exists():
            return
        first = self.folder / "init.sql"
        password = self.context.state.password("mysql-root")
        write_whole(first, f"ALTER USER 'root'@'localhost' IDENTIFIED BY '{password}';\n", 0o600)
        with build_aside(self._data) as aside:
            argv = [*self._daemon(), f"--datadir={aside}", "--initialize-insecure", f"--init-file={first}"]
            run([*argv, "--skip-log-bin"], log=self.context.layout.log(self.name))
        first.unlink()

    def launch(self) -> Launch:
        """Run the daemon on the instance's data."""
        return Launch([*self._daemon(), f"--datadir={self._data}"], configs=[self._config])

    def answers(self) -> bool:
        """Tell whether it answers SQL."""
        try:
            self.connect().close()
        except pymysql.MySQLError:
            return False
        return True

    def settle(self) -> None:
        """Apply sql/mysql: whatever changed since the last time."""
        for path in sorted((REPO / "sql" / "mysql").glob("[0-9]*.sql")):
            text = _filled(path, self.variables())
            digest = hashlib.sha256(text.encode()).hexdigest()
            if self.context.state.applied(path.name) == digest:
                continue
            self._apply(path, text)
            self.context.state.set_applied(path.name, digest)

    def variables(self) -> dict[str, str]:
        """Return what is filled into the SQL files."""
        password = self.context.state.password
        return {
            "CDC_MYSQL_CAPTURE_PASSWORD": password("mysql-capture"),
            "CDC_MYSQL_ADMIN_PASSWORD": password("mysql-admin"),
            "CDC_MYSQL_SHOP_PASSWORD": password("mysql-shop"),
        }

    def connect(self, *, client_flag: int = 0, autocommit: bool = False) -> "pymysql.Connection[Any]":
        """Connect as root."""
        password = self.context.state.password("mysql-root")
        return pymysql.connect(
            host=HOST,
            port=self.port(),
            user="root",
            password=password,
            connect_timeout=5,
            client_flag=client_flag,
            autocommit=autocommit,
        )

    @property
    def _config(self) -> Path:
        return self.folder / "my.cnf"

    @property
    def _data(self) -> Path:
        return self.folder / "data"

    def _apply(self, path: Path, text: str) -> None:
        with (
            self.connect(client_flag=CLIENT.MULTI_STATEMENTS, autocommit=True) as link,
            link.cursor() as cursor,
        ):
            try:
                cursor.execute(text)
                while cursor.nextset():
                    pass
            except pymysql.MySQLError as error:
                raise StackError(
                    f"sql/mysql/{path.name} failed in MySQL: {error.args[-1]}", "Mend the file."
                ) from error

    def _identity(self) -> str:
        lines = ["user = root"] if os.geteuid() == 0 else []
        if installed() is None:
            root = self.bundle("mysql") / "usr"
            share = next((root / "share").glob("mysql*/english")).parent
            lines += [
                f"basedir = {root}",
                f"lc-messages-dir = {share}",
                f"character-sets-dir = {share / 'charsets'}",
                f"plugin-dir = {root / 'lib' / 'mysql' / 'plugin'}",
            ]
        return "\n".join(lines)

    def _daemon(self) -> list[str]:
        own = installed()
        if own is not None:
            return [own, f"--defaults-file={self._config}"]
        root = self.bundle("mysql") / "usr"
        library = root / "lib" / "x86_64-linux-gnu"
        loader = [str(library / "ld-linux-x86-64.so.2"), "--library-path", f"{library}:{library}/private"]
        return [*loader, str(root / "sbin" / "mysqld"), f"--defaults-file={self._config}"]


def installed() -> str | None:
    """Return the machine's own mysqld if CDC_MYSQLD asks for it, or if no packages can be fetched here."""
    wanted = os.environ.get("CDC_MYSQLD")
    if wanted:
        return wanted
    if shutil.which("apt-get") and shutil.which("dpkg-deb"):
        return None
    found = shutil.which("mysqld")
    told = re.search(r"Ver (\d+)\.(\d+)", output([found, "--version"])) if found else None
    return found if told and (int(told.group(1)), int(told.group(2))) >= OLDEST_INSTALLED else None


def _filled(path: Path, variables: dict[str, str]) -> str:
    text = path.read_text()
    for name, value in variables.items():
        text = text.replace(f"${{{name}}}", value)
    return text
