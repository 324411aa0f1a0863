"""What stands between Tidegate's host and a workflow written in Python.

A workflow is a plain module with a function ``workflow``. The modules here give
it its request and its settings, turn what it returns into a reply, and its
failure into a message and a traceback. They serve three callers: a runtime
component that is handed programs (`entry_runtime`), a component with one program
inside (`entry_workflow`), and the test kit on a developer's own Python
(package ``tidegate``).

Modules at this level run on any CPython from 3.10. What needs the component, its
WASI imports or a snapshot lives in `sandbox`, `http` and `snapshot`, and is never
imported by the others.
"""
