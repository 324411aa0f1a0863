"""Makes components of Python: language runtimes, and workflows of their own.

Needs CPython 3.10 or newer with `venv`, and the package index. What it installs goes
into a cache folder and nowhere else.
"""
