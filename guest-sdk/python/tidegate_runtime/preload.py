"""Imports what programs are likely to import, so that it lies in the snapshot."""

import importlib
import sys

#: Modules of the standard library that are no use to a workflow, or act when imported.
_SKIPPED = frozenset(
    "antigravity this idlelib turtle turtledemo tkinter ensurepip venv lib2to3 test "
    "pydoc_data curses nturl2path ntpath nt winreg winsound msvcrt msilib dbm".split()
)

#: Submodules that programs use often. Others are unpacked when they are imported.
_SUBMODULES = """
asyncio.timeouts collections.abc concurrent.futures.thread email.header email.mime.application
email.mime.audio email.mime.base email.mime.image email.mime.multipart email.mime.nonmultipart
email.mime.text email.parser email.policy email.utils encodings.ascii encodings.base64_codec
encodings.cp1250 encodings.cp1252 encodings.cp437 encodings.hex_codec encodings.idna
encodings.iso8859_1 encodings.iso8859_15 encodings.latin_1 encodings.punycode
encodings.raw_unicode_escape encodings.unicode_escape encodings.utf_16 encodings.utf_16_le
encodings.utf_32 encodings.utf_8 encodings.utf_8_sig html.entities html.parser http.client
http.cookiejar http.cookies http.server importlib.abc importlib.metadata importlib.resources
importlib.util json.tool logging.config logging.handlers multiprocessing.pool os.path
unittest.mock urllib.error urllib.parse urllib.request urllib.response urllib.robotparser
wsgiref.handlers xml.dom.minidom xml.etree.ElementTree xml.parsers.expat xml.sax
xml.sax.saxutils zoneinfo _strptime
""".split()


def run(library, extra):
    """Imports the standard library, every top-level module of the packages, and `extra`.

    Returns what could not be imported: pairs of name and reason.
    """
    standard = [
        name
        for name in sorted(sys.stdlib_module_names)
        if not name.startswith("_") and name not in _SKIPPED
    ]
    for name in standard + _SUBMODULES:
        _import(name)
    failed = []
    for name in sorted(_top_level_packages(library)) + list(extra):
        reason = _import(name)
        if reason:
            failed.append((name, reason))
    return failed


def _top_level_packages(library):
    for name, module in library.modules.items():
        if "." not in name and module.shown.startswith("/packages/") and module.real:
            yield name


def _import(name):
    try:
        importlib.import_module(name)
    except BaseException as error:
        return f"{type(error).__name__}: {error}"
    return None
