"""Imports the modules at the top of every package of the runtime."""

import importlib
import importlib.metadata
import sys


def workflow(settings: dict):
    seen = {}
    for package in importlib.metadata.distributions():
        tops = {file.parts[0].removesuffix(".py") for file in package.files if file.suffix == ".py"}
        modules = sorted(name for name in tops if name.isidentifier())
        # What lies in the snapshot is there before anybody asks for it.
        late = [name for name in modules if name not in sys.modules]
        for name in modules:
            importlib.import_module(name)
        seen[package.metadata["Name"].lower().replace("_", "-")] = [modules, late]
    return seen
