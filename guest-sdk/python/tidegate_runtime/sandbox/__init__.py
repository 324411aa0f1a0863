"""What cannot work inside a component, made to fail at once and in plain words.

There are no threads, processes, sockets, terminals or disks in there. Each module
here replaces one of them: by a stand-in that does the job another way where that is
possible, else by an error that says what to use instead.
"""


def install():
    """What must be in place before any library is imported.

    Libraries keep references to functions of `socket` and `ssl`, and a handle that one
    opened at import would be stale in the snapshot, where using it is a trap.
    """
    from . import sockets, tls

    sockets.install()
    tls.install()

    from . import kdf

    kdf.install()


def finish(library, program):
    """What may only be in place once everything is imported: the build needs files.

    `library` is the `Library` to read from, `program` maps absolute paths to the bytes
    of a program's own data files.
    """
    from . import absent, databases, draws, files, loops, stdio, threads

    absent.finish(library)
    loops.finish()
    threads.finish()
    stdio.finish()
    databases.finish()
    files.install(library, program)
