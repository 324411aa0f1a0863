"""Databases of `sqlite3` in memory, and none in files.

SQLite opens files itself, in C, and there are none to open.
"""

import sqlite3
import sqlite3.dbapi2

MESSAGE = (
    "databases in files are not available in this sandbox: "
    "use ':memory:', and keep data in settings"
)

_connect = sqlite3.connect


def finish():
    sqlite3.connect = sqlite3.dbapi2.connect = connect


def connect(database, *arguments, **options):
    """`sqlite3.connect` for a database in memory; any other is refused."""
    name = database if isinstance(database, str) else None
    in_memory = name in ("", ":memory:") or (
        name is not None
        and options.get("uri")
        and name.startswith("file:")
        and (name.startswith("file::memory:") or "mode=memory" in name)
    )
    if not in_memory:
        raise sqlite3.OperationalError(f"{MESSAGE}: {database!r}")
    return _connect(database, *arguments, **options)
