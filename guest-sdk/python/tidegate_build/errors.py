"""What can go wrong with a build, for the person who asked for it."""


class BuildError(Exception):
    """The build failed.

    `code` is a stable word, `hint` says what to do next, `diagnostics` are findings
    about the program: dicts with file, line, column, message, text and hint.
    """

    def __init__(self, code, message, hint=None, diagnostics=()):
        super().__init__(message)
        self.code = code
        self.hint = hint
        self.diagnostics = list(diagnostics)

    def as_dict(self):
        return {
            "code": self.code,
            "message": str(self),
            "hint": self.hint,
            "diagnostics": self.diagnostics,
        }
