"""Requirements files."""

import re
from pathlib import Path

from .errors import BuildError

_NAME = re.compile(r"^[A-Za-z0-9][A-Za-z0-9._-]*")
_PIN = re.compile(r"^[A-Za-z0-9][A-Za-z0-9._-]*(\[[^\]]*\])?\s*===?\s*[^\s;*]+")


class Requirements:
    """The lines of a requirements file: options apart from requirements."""

    def __init__(self, options, lines):
        self.options = options
        self.lines = lines

    @property
    def is_locked(self):
        """Whether every requirement is pinned to a version and to hashes."""
        return all(_PIN.match(line) and "--hash=" in line for line in self.lines)

    def text(self, lines=None):
        """A requirements file with these options, and these lines or all."""
        return "".join(f"{line}\n" for line in self.options + (self.lines if lines is None else lines))


def read(path):
    """The requirements in a file. Raises `BuildError`."""
    try:
        text = Path(path).read_text(encoding="utf-8")
    except FileNotFoundError:
        raise BuildError("requirements", f"there is no file {path}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise BuildError("requirements", f"{path} cannot be read: {error}") from None
    options, lines = [], []
    for line in text.replace("\\\n", " ").splitlines():
        line = re.sub(r"(^|\s)#.*$", "", line).strip()
        if not line:
            continue
        if line.startswith(("-r", "--requirement", "-c", "--constraint", "-e", "--editable")):
            raise BuildError(
                "requirements",
                f"{path}: {line.split()[0]!r} is not supported",
                "list the packages themselves, one on a line",
            )
        (options if line.startswith("-") else lines).append(" ".join(line.split()))
    return Requirements(options, lines)


def name(line):
    """The name of the package that a requirement asks for, as indexes normalise it."""
    found = _NAME.match(line)
    return re.sub(r"[-_.]+", "-", found.group(0)).lower() if found else line
