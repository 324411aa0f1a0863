"""What cannot work, and what the workflow is told about it."""

import asyncio
import getpass
import json
import os
import signal
import smtplib
import socket
import sqlite3
import ssl
import subprocess
import threading
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import Pool
from multiprocessing.pool import ThreadPool


def thread():
    threading.Thread(target=print).start()


def timer():
    threading.Timer(1, print).start()


def executor():
    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(len, ["a"]))


def deadlock():
    async def wait():
        await asyncio.Event().wait()

    asyncio.run(wait())


def stream():
    asyncio.run(asyncio.open_connection("127.0.0.1", 80))


def server():
    asyncio.run(asyncio.start_server(print, "127.0.0.1", 0))


def child():
    asyncio.run(asyncio.create_subprocess_exec("ls"))


TRIES = {
    "thread": thread,
    "timer": timer,
    "executor": executor,
    "thread pool": lambda: ThreadPool(2),
    "processes": lambda: ProcessPoolExecutor(2),
    "pool": lambda: Pool(2),
    "subprocess": lambda: subprocess.run(["ls"]),
    "system": lambda: os.system("ls"),
    "fork": lambda: os.fork(),
    "popen": lambda: os.popen("ls"),
    "spawn": lambda: os.spawnv(os.P_WAIT, "/bin/ls", ["ls"]),
    "kill": lambda: os.kill(os.getpid(), 9),
    "alarm": lambda: signal.alarm(1),
    "socket": lambda: socket.socket(),
    "connect": lambda: socket.create_connection(("127.0.0.1", 80)),
    "mail": lambda: smtplib.SMTP("mail.example.com"),
    "resolve": lambda: socket.getaddrinfo("localhost", 80),
    "tls": lambda: ssl.create_default_context().wrap_socket(None),
    "write": lambda: open("/data.txt", "w"),
    "read": lambda: open("/etc/passwd"),
    "list": lambda: os.listdir("/home"),
    "folder": lambda: os.mkdir("/data"),
    "relative": lambda: open("../data.txt", "w"),
    "remove": lambda: os.remove("/etc/passwd"),
    "database": lambda: sqlite3.connect("/tmp/people.db"),
    "full": lambda: open("/tmp/big", "wb").write(bytes(17 << 20)),
    "bz2": lambda: __import__("bz2"),
    "ctypes": lambda: __import__("ctypes"),
    "pwd": lambda: __import__("pwd"),
    "unknown": lambda: __import__("nothing_of_that_name"),
    "input": lambda: input("? "),
    "password": lambda: getpass.getpass(),
    "scrypt": lambda: __import__("hashlib").scrypt(b"", salt=b"", n=2, r=1, p=1),
    "deadlock": deadlock,
    "stream": stream,
    "server": server,
    "child": child,
}


def workflow(_request, settings):
    seen = {}
    for name, attempt in TRIES.items():
        try:
            seen[name] = f"worked: {attempt()!r}"
        except Exception as error:
            seen[name] = f"{type(error).__name__}: {error}"
    return dict(status_code=200, body=json.dumps(seen))
