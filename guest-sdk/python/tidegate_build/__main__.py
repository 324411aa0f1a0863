"""The command line of the build.

One JSON document goes to standard output: the manifest of what was made, or
``{"error": ...}``. Progress goes to standard error. The exit code is 0, or 1.
"""

import argparse
import json
import os
import re
import sys
from pathlib import Path

if not __package__:  # python3 path/to/tidegate_build
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
    __package__ = "tidegate_build"

from tidegate_build import lock, runtime, workflow
from tidegate_build.errors import BuildError

_HERE = Path(__file__).resolve().parent
_REPOSITORY = _HERE.parents[2]


def main():
    arguments = _parser().parse_args()
    try:
        found = arguments.run(arguments)
    except BuildError as error:
        print(json.dumps({"error": error.as_dict()}))
        return 1
    print(json.dumps(found))
    return 0


def _parser():
    parser = argparse.ArgumentParser(prog="tidegate_build", description=__doc__.splitlines()[0])
    parser.add_argument("--cache", type=Path, default=_cache(), help="folder of the cache")
    parser.add_argument("--wit", type=Path, default=_REPOSITORY / "wit", help="folder of the interface")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    made = commands.add_parser("runtime", help="a runtime that is handed programs")
    made.add_argument("--name", required=True, type=_name)
    made.add_argument("-r", "--requirements", type=Path, help="its packages")
    made.add_argument("--output", required=True, type=Path, help="folder for what is made")
    made.set_defaults(
        run=lambda a: runtime.build(
            a.cache.resolve(), a.wit.resolve(), a.name, a.requirements, a.output.resolve()
        )
    )

    made = commands.add_parser("workflow", help="a component of a project folder")
    made.add_argument("project", type=Path)
    made.add_argument("--output", required=True, type=Path, help="the component's file")
    made.set_defaults(
        run=lambda a: workflow.build(
            a.cache.resolve(), a.wit.resolve(), a.project.resolve(), a.output.resolve()
        )
    )

    made = commands.add_parser("lock", help="pins and hashes for a requirements file")
    made.add_argument("-r", "--requirements", type=Path, required=True)
    made.add_argument("--output", type=Path, required=True)
    made.add_argument("--without", action="append", default=[], help="leave a package out")
    made.add_argument("--instead", action="append", default=[], help="add this pin to the result")
    made.set_defaults(
        run=lambda a: lock.write(a.cache.resolve(), a.requirements, a.output, a.without, a.instead)
    )
    return parser


def _cache():
    return Path(os.environ.get("TIDEGATE_CACHE") or _REPOSITORY / ".cache")


def _name(text):
    if not re.fullmatch(r"[a-z0-9]([a-z0-9.-]{0,61}[a-z0-9])?", text):
        raise argparse.ArgumentTypeError(
            "a runtime's name has lower-case letters, digits, dots and hyphens"
        )
    return text


if __name__ == "__main__":
    sys.exit(main())
