"""Lock files: pins and hashes for what a requirements file asks for."""

from . import packages, requirements, tools

_HEAD = """\
# Made from {source} by: python3 -m tidegate_build lock
# Every package has no native code, or Python code that does the same.
"""


def write(cache, source, output, without, instead):
    """Writes pinned and hashed requirements for those in the file `source`.

    `without` names packages to leave out although another one requires them, `instead`
    holds pins to add whatever others require of them.
    """
    with tools.locked(cache):
        installed = tools.install(cache)
        wanted = requirements.read(source)
        locked = packages.resolve(installed, wanted, frozenset(without), instead)
    head = _HEAD.format(source=source.name)
    for name in sorted(without):
        head += f"# {name} is left out.\n"
    for pin in instead:
        head += f"# {pin} is used whatever others require.\n"
    lines = [line.replace(" --hash=", " \\\n    --hash=") for line in locked.lines]
    output.write_text(head + "\n".join(lines) + "\n", encoding="utf-8")
    return {"requirements": len(locked.lines)}
