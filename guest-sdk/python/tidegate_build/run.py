"""Programs that the build starts."""

import subprocess


class Failed(Exception):
    """A program ended badly. `output` is what it wrote, both streams together."""

    def __init__(self, command, status, output):
        super().__init__(f"{command[0]} ended with status {status}")
        self.output = output


def run(command, env=None, folder=None):
    """Runs a program to its end and returns what it wrote. Raises `Failed`."""
    done = subprocess.run(
        [str(part) for part in command],
        env=env,
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    )
    if done.returncode:
        raise Failed(command, done.returncode, done.stdout)
    return done.stdout
