"""`open`, `os` and what is built on them, over a volume in memory.

A component has no file system to ask, and asking costs a call out of it. Code in C
that opens files itself (`sqlite3` with a path) is not reached by this: it is
refused in `databases`.
"""

import builtins
import errno
import io
import os
import shutil
import stat
import sys
import tempfile

from .volume import TMP, Volume, node_stat

#: File descriptors from here on are ours.
_DESCRIPTOR_MIN = 1000

_volume = None
_open_files = {}
_real_open = io.open
_real = {name: getattr(os, name) for name in ("read", "write", "close", "fstat", "isatty")}


def install(library, program):
    """Puts the volume in the place of the file system.

    `program` maps absolute paths to the bytes of a program's own data files.
    """
    global _volume
    _volume = Volume(library, program)
    io.open = builtins.open = open_
    for function in _FUNCTIONS:
        setattr(os, function.__name__.rstrip("_"), function)
    os.unlink, os.lstat = os.remove, os.stat
    os.replace = os.rename
    # These would go by file descriptors of folders.
    shutil._use_fd_functions = False
    shutil._rmtree_impl = shutil._rmtree_unsafe
    tempfile.tempdir = None
    tempfile._name_sequence = None
    sys.dont_write_bytecode = True


def is_untouched():
    """Whether the program has put nothing into ``/tmp``."""
    return not _volume.root.data


def open_(
    file,
    mode="r",
    buffering=-1,
    encoding=None,
    errors=None,
    newline=None,
    closefd=True,
    opener=None,
):
    """Opens a file of the volume as the built-in function would."""
    if isinstance(file, int) and file not in _open_files:
        return _real_open(file, mode, buffering, encoding, errors, newline, closefd, opener)
    flags = _flags(mode)
    if isinstance(file, int):
        raw = _open_files[file]
    elif opener is not None:
        raw = _open_files[opener(file, flags)]
    else:
        raw = _open(file, flags)
    binary = "b" in mode
    if binary and (encoding is not None or errors is not None or newline is not None):
        raise ValueError("binary mode takes no encoding, errors or newline argument")
    if buffering == 0:
        if not binary:
            raise ValueError("can't have unbuffered text I/O")
        return raw
    if "+" in mode:
        buffered = io.BufferedRandom(raw)
    elif "r" in mode:
        buffered = io.BufferedReader(raw)
    else:
        buffered = io.BufferedWriter(raw)
    if binary:
        return buffered
    text = io.TextIOWrapper(buffered, encoding or "utf-8", errors, newline, buffering == 1)
    text.mode = mode
    return text


def _flags(mode):
    """The flags of `os.open` for a mode of `open`."""
    kinds = [letter for letter in mode if letter in "rwax"]
    if len(kinds) != 1 or set(mode) - set("rwaxbt+U") or {"b", "t"} <= set(mode):
        raise ValueError(f"invalid mode: {mode!r}")
    flags = {
        "r": 0,
        "w": os.O_CREAT | os.O_TRUNC,
        "a": os.O_CREAT | os.O_APPEND,
        "x": os.O_CREAT | os.O_EXCL,
    }[kinds[0]]
    if "+" in mode:
        return flags | os.O_RDWR
    return flags | (os.O_RDONLY if kinds[0] == "r" else os.O_WRONLY)


def _open(path, flags):
    return _volume.open(_volume.path(path), flags)


# The functions of `os`. Options that concern links and folders' descriptors are
# accepted where the default is meant, and refused by their absence elsewhere.


def open_descriptor(path, flags, mode=0o777, *, dir_fd=None):
    descriptor = _DESCRIPTOR_MIN
    while descriptor in _open_files:
        descriptor += 1
    _open_files[descriptor] = _open(path, flags)
    return descriptor


open_descriptor.__name__ = "open"


def read(fd, length):
    file = _open_files.get(fd)
    return file.read(length) if file else _real["read"](fd, length)


def write(fd, data):
    file = _open_files.get(fd)
    return file.write(data) if file else _real["write"](fd, data)


def lseek(fd, position, how):
    return _descriptor(fd).seek(position, how)


def ftruncate(fd, length):
    _descriptor(fd).truncate(length)


def fsync(fd):
    pass


def fdatasync(fd):
    pass


def close(fd):
    file = _open_files.pop(fd, None)
    if file is None:
        _real["close"](fd)
    else:
        file.close()


def isatty(fd):
    return False


def fstat(fd):
    file = _open_files.get(fd)
    return node_stat(file.node) if file else _real["fstat"](fd)


def stat_(path, *, dir_fd=None, follow_symlinks=True):
    if isinstance(path, int):
        return fstat(path)
    return _volume.stat(_volume.path(path))


def access(path, mode, *, dir_fd=None, effective_ids=False, follow_symlinks=True):
    place = _volume.path(path)
    try:
        _volume.stat(place)
    except OSError:
        return False
    return not mode & os.W_OK or place == TMP or place.startswith(TMP + "/")


def listdir(path="."):
    names = _volume.names(_volume.path(path))
    return [os.fsencode(name) for name in names] if isinstance(path, bytes) else names


class _Entry:
    """What `os.scandir` yields."""

    __slots__ = ("name", "path")

    def __init__(self, folder, name):
        self.name = name
        self.path = os.path.join(folder, name)

    def __fspath__(self):
        return self.path

    def __repr__(self):
        return f"<DirEntry {self.name!r}>"

    def is_dir(self, *, follow_symlinks=True):
        return stat.S_ISDIR(self.stat().st_mode)

    def is_file(self, *, follow_symlinks=True):
        return not self.is_dir()

    def is_symlink(self):
        return False

    def is_junction(self):
        return False

    def inode(self):
        return self.stat().st_ino

    def stat(self, *, follow_symlinks=True):
        return stat_(self.path)


class scandir:
    """An iterator over the entries of a folder, and a context manager."""

    def __init__(self, path="."):
        folder = os.fspath(path)
        self._entries = iter([_Entry(folder, name) for name in listdir(folder)])

    def __iter__(self):
        return self

    def __next__(self):
        return next(self._entries)

    def close(self):
        self._entries = iter(())

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.close()


def mkdir(path, mode=0o777, *, dir_fd=None):
    _volume.make_folder(_volume.path(path))


def rmdir(path, *, dir_fd=None):
    _volume.remove(_volume.path(path), True)


def remove(path, *, dir_fd=None):
    _volume.remove(_volume.path(path), False)


def rename(src, dst, *, src_dir_fd=None, dst_dir_fd=None):
    _volume.rename(_volume.path(src), _volume.path(dst))


def truncate(path, length):
    if isinstance(path, int):
        ftruncate(path, length)
    else:
        _open(path, os.O_WRONLY).truncate(length)


def utime(path, times=None, *, ns=None, dir_fd=None, follow_symlinks=True):
    node = _volume.find(_volume.path(path))
    if node is None:
        stat_(path)
    elif ns or times:
        node.changed = ns[1] / 1e9 if ns else times[1]


def chmod(path, mode, *, dir_fd=None, follow_symlinks=True):
    stat_(path)


def getcwd():
    return _volume.cwd


def getcwdb():
    return os.fsencode(_volume.cwd)


def chdir(path):
    place = _volume.path(path)
    _volume.names(place)
    _volume.cwd = place


def readlink(path, *, dir_fd=None):
    stat_(path)
    raise OSError(errno.EINVAL, os.strerror(errno.EINVAL), path)


def symlink(src, dst, target_is_directory=False, *, dir_fd=None):
    raise OSError(errno.ENOTSUP, "links are not available in this sandbox", dst)


def link(src, dst, *, src_dir_fd=None, dst_dir_fd=None, follow_symlinks=True):
    raise OSError(errno.ENOTSUP, "links are not available in this sandbox", dst)


def _descriptor(fd):
    try:
        return _open_files[fd]
    except KeyError:
        raise OSError(errno.EBADF, os.strerror(errno.EBADF)) from None


_FUNCTIONS = (
    open_descriptor, read, write, lseek, ftruncate, fsync, fdatasync, close, isatty, fstat,
    stat_, access, listdir, scandir, mkdir, rmdir, remove, rename, truncate, utime, chmod,
    getcwd, getcwdb, chdir, readlink, symlink, link,
)  # fmt: skip
