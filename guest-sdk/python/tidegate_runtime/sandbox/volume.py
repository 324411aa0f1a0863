"""The files that a run sees: a small ``/tmp`` in memory, and the library to read from."""

import errno
import io
import os
import stat
import time

#: Most bytes that files in ``/tmp`` hold together.
TMP_BYTES_MAX = 16 * 1024 * 1024

TMP = "/tmp"
OUTSIDE = "only /tmp can be written to, and only for this run: keep data in settings"
MISSING = "no such file: a run sees no files but its own in /tmp"


class Node:
    """A file (`data` is a bytearray) or a folder (`data` is a dict of nodes)."""

    __slots__ = ("data", "changed", "number")
    _last = 0

    def __init__(self, data):
        self.data = data
        self.changed = time.time()
        Node._last += 1
        self.number = Node._last

    @property
    def is_folder(self):
        return isinstance(self.data, dict)


class Volume:
    """Resolves absolute paths to what is there. Raises `OSError` as a kernel would."""

    def __init__(self, library, program):
        """`library` is read below its own paths; `program` maps paths to more files."""
        self.root = Node({})
        self.cwd = TMP
        self._library = library
        self._program = program
        self.used = 0

    def path(self, path):
        """`path`, a str, bytes or path object, as a normal absolute path."""
        path = os.fsdecode(os.fspath(path))
        if "\0" in path:
            raise ValueError("embedded null byte")
        if not path:
            raise OSError(errno.ENOENT, os.strerror(errno.ENOENT), path)
        return os.path.normpath(os.path.join(self.cwd, path)).replace("//", "/")

    def find(self, path):
        """The node at an absolute path below ``/tmp``, or `None`."""
        if path != TMP and not path.startswith(TMP + "/"):
            return None
        node = self.root
        for name in path[len(TMP) + 1 :].split("/") if path != TMP else ():
            if not node.is_folder or name not in node.data:
                return None
            node = node.data[name]
        return node

    def read_only(self, path):
        """The bytes of a file of the library or the program; `None` if there is none."""
        if path in self._program:
            return self._program[path]
        if path in self._library.files:
            return self._library.get_data(path)
        return None

    def read_only_names(self, path):
        """The names in a folder of the library or the program; `None` if there is none."""
        names = set(self._library.folders.get(path, ()))
        start = path.rstrip("/") + "/"
        for place in self._program:
            if place.startswith(start):
                names.add(place[len(start) :].partition("/")[0])
        if path == "/":
            names |= {"tmp"}
        return names or None

    def stat(self, path):
        """What `os.stat` gives for an absolute path."""
        node = self.find(path)
        if node is not None:
            return node_stat(node)
        if self.read_only_names(path) is not None:
            return _stat(stat.S_IFDIR | 0o555, 0, 0, 0)
        data = self.read_only(path)
        if data is not None:
            return _stat(stat.S_IFREG | 0o444, 0, len(data), 0)
        if os.path.basename(path) in self._library.folders.get(os.path.dirname(path), ()):
            # A module: it is there, and its source is not.
            return _stat(stat.S_IFREG | 0o444, 0, 0, 0)
        raise OSError(errno.ENOENT, MISSING, path)

    def names(self, path):
        """The names in the folder at an absolute path."""
        node = self.find(path)
        if node is not None:
            if not node.is_folder:
                raise OSError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), path)
            return sorted(node.data)
        names = self.read_only_names(path)
        if names is None:
            raise OSError(errno.ENOENT, MISSING, path)
        return sorted(names)

    def parent(self, path):
        """The folder that holds, or is to hold, the writable `path`, and its last name."""
        if not path.startswith(TMP + "/"):
            raise OSError(errno.EACCES, OUTSIDE, path)
        parent = self.find(os.path.dirname(path))
        if parent is None:
            raise OSError(errno.ENOENT, os.strerror(errno.ENOENT), path)
        if not parent.is_folder:
            raise OSError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), path)
        return parent, os.path.basename(path)

    def make_folder(self, path):
        parent, name = self.parent(path)
        if name in parent.data:
            raise OSError(errno.EEXIST, os.strerror(errno.EEXIST), path)
        parent.data[name] = Node({})

    def remove(self, path, folder):
        """Removes a file, or an empty folder when `folder` is true."""
        parent, name = self.parent(path)
        node = parent.data.get(name)
        if node is None:
            raise OSError(errno.ENOENT, os.strerror(errno.ENOENT), path)
        if node.is_folder != folder:
            code = errno.ENOTDIR if folder else errno.EISDIR
            raise OSError(code, os.strerror(code), path)
        if folder and node.data:
            raise OSError(errno.ENOTEMPTY, os.strerror(errno.ENOTEMPTY), path)
        if not folder:
            self.used -= len(node.data)
        del parent.data[name]

    def rename(self, source, target):
        parent, name = self.parent(source)
        if name not in parent.data:
            raise OSError(errno.ENOENT, os.strerror(errno.ENOENT), source)
        onto, new = self.parent(target)
        there = onto.data.get(new)
        if there is parent.data[name]:
            return
        if there is not None:
            self.remove(target, there.is_folder)
        onto.data[new] = parent.data.pop(name)

    def open(self, path, flags):
        """Opens the file at an absolute path as `os.open` would; returns a `MemoryFile`."""
        writes = flags & (os.O_WRONLY | os.O_RDWR) in (os.O_WRONLY, os.O_RDWR)
        node = self.find(path)
        if node is None and not writes and not flags & os.O_CREAT:
            data = self.read_only(path)
            if data is None:
                raise OSError(errno.ENOENT, MISSING, path)
            return MemoryFile(self, Node(data), path, flags)
        if node is None:
            if path != TMP and not path.startswith(TMP + "/"):
                raise OSError(errno.EACCES, OUTSIDE, path)
            parent, name = self.parent(path)
            if not flags & os.O_CREAT:
                raise OSError(errno.ENOENT, os.strerror(errno.ENOENT), path)
            node = parent.data[name] = Node(bytearray())
        elif flags & os.O_CREAT and flags & os.O_EXCL:
            raise OSError(errno.EEXIST, os.strerror(errno.EEXIST), path)
        if node.is_folder:
            raise OSError(errno.EISDIR, os.strerror(errno.EISDIR), path)
        if flags & os.O_TRUNC and writes:
            self.used -= len(node.data)
            node.data.clear()
        return MemoryFile(self, node, path, flags)


class MemoryFile(io.RawIOBase):
    """An open file of a `Volume`."""

    def __init__(self, volume, node, name, flags):
        self._volume = volume
        self.node = node
        self.name = name
        self._at = 0
        access = flags & (os.O_RDONLY | os.O_WRONLY | os.O_RDWR)
        self._reads = access != os.O_WRONLY
        self._writes = access in (os.O_WRONLY, os.O_RDWR)
        self._appends = bool(flags & os.O_APPEND)

    @property
    def mode(self):
        return "rb+" if self._reads and self._writes else "wb" if self._writes else "rb"

    def readable(self):
        return self._reads

    def writable(self):
        return self._writes

    def seekable(self):
        return True

    def readinto(self, buffer):
        self._demand(self._reads)
        view = memoryview(buffer).cast("B")
        data = self.node.data[self._at : self._at + len(view)]
        view[: len(data)] = data
        self._at += len(data)
        return len(data)

    def write(self, buffer):
        self._demand(self._writes)
        added = memoryview(buffer).cast("B")
        data = self.node.data
        if self._appends:
            self._at = len(data)
        self._grow(max(self._at + len(added), len(data)))
        data[self._at : self._at + len(added)] = added
        self._at += len(added)
        self.node.changed = time.time()
        return len(added)

    def seek(self, offset, whence=0):
        start = {0: 0, 1: self._at, 2: len(self.node.data)}[whence]
        if start + offset < 0:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        self._at = start + offset
        return self._at

    def tell(self):
        return self._at

    def truncate(self, size=None):
        self._demand(self._writes)
        size = self._at if size is None else size
        self._grow(size)
        if size < len(self.node.data):
            self._volume.used -= len(self.node.data) - size
            del self.node.data[size:]
        return size

    def _grow(self, size):
        """Makes the file at least `size` bytes long."""
        more = size - len(self.node.data)
        if more > 0:
            if self._volume.used + more > TMP_BYTES_MAX:
                limit = f"/tmp holds at most {TMP_BYTES_MAX >> 20} MiB"
                raise OSError(errno.ENOSPC, limit, self.name)
            self._volume.used += more
            self.node.data.extend(bytes(more))

    def _demand(self, allowed):
        if self.closed:
            raise ValueError("I/O operation on closed file")
        if not allowed:
            raise io.UnsupportedOperation("not open for this")


def node_stat(node):
    if node.is_folder:
        return _stat(stat.S_IFDIR | 0o700, node.number, 0, node.changed)
    return _stat(stat.S_IFREG | 0o600, node.number, len(node.data), node.changed)


def _stat(mode, number, size, changed):
    whole = int(changed)
    return os.stat_result(
        (mode, number, 1, 1, 0, 0, size, whole, whole, whole, changed, changed, changed)
    )
