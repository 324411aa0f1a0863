"""Prints a megabyte."""


def workflow(settings: dict):
    for number in range(10_000):
        print(f"{number:04} " + "x" * 100)
