"""Modules of the standard library that this Python does not have."""

import sys

#: Modules, and why they are not there or what to use instead.
REASONS = {
    "bz2": "bzip2 is not in this Python: use gzip or zlib",
    "lzma": "lzma is not in this Python: use gzip or zlib",
    "compression.zstd": "zstandard is not in this Python: use gzip or zlib",
    "ctypes": "native code cannot be loaded in this sandbox",
    "cffi": "native code cannot be loaded in this sandbox",
    "mmap": "there are no files to map in this sandbox",
    "fcntl": "there are no file locks in this sandbox",
    "resource": "the host limits and measures each run",
    "pwd": "there are no users in this sandbox",
    "grp": "there are no users in this sandbox",
    "syslog": "use print or logging: both go to the run's log",
    "termios": "there is no terminal in this sandbox",
    "tty": "there is no terminal in this sandbox",
    "pty": "there is no terminal in this sandbox",
    "readline": "there is no terminal in this sandbox",
    "curses": "there is no terminal in this sandbox",
    "tkinter": "there is no screen in this sandbox",
    "turtle": "there is no screen in this sandbox",
}


class Finder:
    """The last finder: says why a module is absent, where that is known."""

    @staticmethod
    def find_spec(name, path=None, target=None):
        reason = REASONS.get(name)
        if reason:
            raise ModuleNotFoundError(f"No module named {name!r}: {reason}", name=name)
        return None

    @staticmethod
    def invalidate_caches():
        pass


def finish(library):
    """Makes absent what could only fail later, and a search for it short."""
    for name in REASONS:
        sys.modules.pop(name, None)
        for module in list(library.modules):
            if module == name or module.startswith(name + "."):
                del library.modules[module]
    sys.meta_path.append(Finder)
