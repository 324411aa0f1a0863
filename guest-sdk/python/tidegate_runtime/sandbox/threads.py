"""No threads, no other processes, no signals."""

import _thread
import errno
import multiprocessing.context
import multiprocessing.pool
import multiprocessing.process
import os
import signal
import subprocess
import threading
from concurrent.futures import process as process_futures

THREADS = (
    "threads are not available in this sandbox: "
    "call the function directly, or use asyncio for waiting"
)
PROCESSES = (
    "other processes are not available in this sandbox: "
    "use a Python package or an HTTP service that does the job"
)
SIGNALS = (
    "signals are not available in this sandbox: the host ends a run that meets its deadline"
)

_OS_FUNCTIONS = (
    "system popen fork forkpty kill killpg wait waitpid execl execle execlp execlpe execv "
    "execve execvp execvpe spawnl spawnle spawnlp spawnlpe spawnv spawnve spawnvp spawnvpe "
    "posix_spawn posix_spawnp pipe"
).split()


class Exit(SystemExit):
    """`os._exit` or `os.abort`: `called` tells which."""

    def __init__(self, called):
        super().__init__(1)
        self.called = called


# To the program it is what sys.exit raises.
Exit.__module__, Exit.__qualname__, Exit.__name__ = "builtins", "SystemExit", "SystemExit"


def finish():
    threading.Thread.start = _no_threads
    for name in ("start_new_thread", "start_new", "start_joinable_thread"):
        setattr(_thread, name, _no_threads)
    threading._start_joinable_thread = _no_threads
    for name in _OS_FUNCTIONS:
        setattr(os, name, _no_processes)
    os._exit = _exit
    os.abort = _abort
    os.P_WAIT, os.P_NOWAIT, os.P_NOWAITO = 0, 1, 1
    for name in ("alarm", "setitimer", "getitimer", "pause", "sigwait", "pthread_kill"):
        setattr(signal, name, _no_signals)
    subprocess.Popen.__init__ = _no_processes
    subprocess.Popen.__del__ = lambda self: None
    multiprocessing.process.BaseProcess.start = _no_processes
    multiprocessing.pool.ThreadPool.__init__ = _no_threads
    multiprocessing.pool.ThreadPool.__del__ = lambda self: None
    process_futures.ProcessPoolExecutor.__init__ = _no_processes
    for name in ("Pool", "Manager", "Queue", "SimpleQueue", "JoinableQueue", "Pipe", "Lock"):
        setattr(multiprocessing.context.BaseContext, name, _no_processes)
        setattr(multiprocessing, name, _no_processes)


def _no_threads(*arguments, **options):
    raise RuntimeError(THREADS)


def _no_processes(*arguments, **options):
    raise OSError(errno.ENOTSUP, PROCESSES)


def _no_signals(*arguments, **options):
    raise OSError(errno.ENOTSUP, SIGNALS)


def _exit(status):
    raise Exit(f"os._exit({status!r})")


def _abort():
    raise Exit("os.abort()")
