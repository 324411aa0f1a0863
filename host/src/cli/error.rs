//! How a command fails: one line what, the findings, and lines what to do next.
//!
//! A [`Failure`] is made where it is understood and printed once, by
//! [`crate::cli::main`]. Nothing here prints.

use std::fmt::{self, Display};

use crate::api::Diagnostic;

/// The result of a command.
pub(crate) type Result<T> = std::result::Result<T, Failure>;

/// How the process ends when a command does not succeed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// 1: it was tried and failed.
    Failed,
    /// 2: the command line makes no sense.
    Usage,
    /// 64 (`EX_USAGE` of sysexits.h): a configuration, a profile or a `workflow.toml`
    /// is wrong.
    Configuration,
    /// 1, and nothing more is printed: whoever needs to know was told.
    Told,
    /// 0, and nothing is printed: whoever read our output has had enough of it.
    ReaderGone,
}

impl Exit {
    /// The process's exit code.
    pub(crate) fn code(self) -> u8 {
        match self {
            Exit::Failed | Exit::Told => 1,
            Exit::Usage => 2,
            Exit::Configuration => 64,
            Exit::ReaderGone => 0,
        }
    }
}

/// Why a command did not succeed.
#[derive(Debug)]
pub(crate) struct Failure {
    /// How the process ends.
    pub(crate) exit: Exit,
    /// What went wrong, with its causes.
    pub(crate) error: anyhow::Error,
    /// Lines that say more than the error line has room for.
    pub(crate) details: Vec<String>,
    /// What is wrong with a program or a file, place by place.
    pub(crate) diagnostics: Vec<Diagnostic>,
    /// What to do next, one line each.
    pub(crate) hints: Vec<String>,
}

impl Failure {
    /// Something was tried and failed.
    pub(crate) fn new(message: impl Display) -> Self {
        Self::with_exit(Exit::Failed, message)
    }

    /// The command line makes no sense.
    pub(crate) fn usage(message: impl Display) -> Self {
        Self::with_exit(Exit::Usage, message)
    }

    /// A configuration, a profile or a `workflow.toml` is wrong.
    pub(crate) fn configuration(message: impl Display) -> Self {
        Self::with_exit(Exit::Configuration, message)
    }

    /// The reader of our output is gone, for example `head`.
    pub(crate) fn reader_gone() -> Self {
        Self::with_exit(Exit::ReaderGone, "the reader of the output is gone")
    }

    fn with_exit(exit: Exit, message: impl Display) -> Self {
        let error = anyhow::Error::msg(message.to_string());
        Self { exit, error, details: Vec::new(), diagnostics: Vec::new(), hints: Vec::new() }
    }

    /// Adds what to do next.
    pub(crate) fn hint(mut self, hint: impl Display) -> Self {
        self.hints.push(hint.to_string());
        self
    }

    /// Adds a line that says more.
    pub(crate) fn detail(mut self, line: impl Display) -> Self {
        self.details.push(line.to_string());
        self
    }

    /// Adds findings about a program or a file.
    pub(crate) fn diagnostics(mut self, diagnostics: Vec<Diagnostic>) -> Self {
        self.diagnostics.extend(diagnostics);
        self
    }

    /// Says what was being done when this happened.
    pub(crate) fn context(mut self, what: impl Display) -> Self {
        self.error = self.error.context(what.to_string());
        self
    }

    /// Ends the process another way.
    pub(crate) fn exit(mut self, exit: Exit) -> Self {
        self.exit = exit;
        self
    }

    /// The message with all its causes, on one line.
    pub(crate) fn line(&self) -> String {
        let mut line = String::new();
        let mut last = String::new();
        for cause in self.error.chain() {
            // Some libraries repeat their source in their own text.
            let text = cause.to_string().split_whitespace().collect::<Vec<_>>().join(" ");
            if text.is_empty() || last.ends_with(&text) {
                continue;
            }
            if !line.is_empty() {
                line.push_str(": ");
            }
            line.push_str(&text);
            last = text;
        }
        line
    }
}

impl<E: std::error::Error + Send + Sync + 'static> From<E> for Failure {
    fn from(error: E) -> Self {
        let error = anyhow::Error::new(error);
        Self { exit: Exit::Failed, error, details: Vec::new(), diagnostics: Vec::new(), hints: Vec::new() }
    }
}

/// Adds context and hints to results, whatever their error is.
pub(crate) trait Explain<T> {
    /// Says what was being done.
    fn context(self, what: impl Display) -> Result<T>;
    /// Says what to do next.
    fn hint(self, hint: impl Display) -> Result<T>;
    /// Ends the process another way.
    fn exit(self, exit: Exit) -> Result<T>;
}

impl<T, E: Into<Failure>> Explain<T> for std::result::Result<T, E> {
    fn context(self, what: impl Display) -> Result<T> {
        self.map_err(|error| error.into().context(what))
    }

    fn hint(self, hint: impl Display) -> Result<T> {
        self.map_err(|error| error.into().hint(hint))
    }

    fn exit(self, exit: Exit) -> Result<T> {
        self.map_err(|error| error.into().exit(exit))
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.line())
    }
}

/// A finding as compilers print it: place and message, the line, a caret.
pub(crate) fn render(diagnostic: &Diagnostic) -> String {
    let Diagnostic { file, line, column, message, text, hint } = diagnostic;
    let mut out = match (line, column) {
        (0, _) => format!("{file}: {message}"),
        (line, 0) => format!("{file}:{line}: {message}"),
        (line, column) => format!("{file}:{line}:{column}: {message}"),
    };
    if let (Some(text), true) = (text, *line > 0) {
        let number = line.to_string();
        let margin = " ".repeat(number.len());
        out.push_str(&format!("\n  {number} | {}", text.trim_end()));
        if *column > 0 {
            // Tabs stay tabs, so that the caret stands under its character.
            let before = text.chars().take(*column as usize - 1);
            let blank: String = before.map(|c| if c == '\t' { '\t' } else { ' ' }).collect();
            out.push_str(&format!("\n  {margin} | {blank}^"));
        }
    }
    if let Some(hint) = hint {
        out.push_str(&format!("\n  = {hint}"));
    }
    out
}

/// The finding at byte `offset` of `text`, the content of `file`.
pub(crate) fn diagnostic_at(file: &str, text: &str, offset: usize, message: impl Into<String>) -> Diagnostic {
    let mut end = offset.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    let start = text[..end].rfind('\n').map_or(0, |index| index + 1);
    let line = text[..start].matches('\n').count() as u32 + 1;
    let column = text[start..end].chars().count() as u32 + 1;
    let content = text[start..].lines().next().unwrap_or_default();
    Diagnostic {
        file: file.to_owned(),
        line,
        column,
        message: message.into(),
        text: Some(content.to_owned()),
        hint: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_chain_stands_on_one_line_without_repetition() {
        let inner = std::io::Error::new(std::io::ErrorKind::NotFound, "no such file\n(os error 2)");
        let failure = Failure::from(inner).context("read x.py").context("deploy");
        assert_eq!(failure.line(), "deploy: read x.py: no such file (os error 2)");

        let repeated = Failure::new("refused").context("connect: refused");
        assert_eq!(repeated.line(), "connect: refused");
    }

    #[test]
    fn each_end_has_its_exit_code() {
        let ends = [Exit::Failed, Exit::Usage, Exit::Configuration, Exit::Told, Exit::ReaderGone];
        assert_eq!(ends.map(Exit::code), [1, 2, 64, 1, 0]);
        let usage: Result<()> = Err(Failure::usage("no"));
        let failure = usage.context("x").hint("h").unwrap_err();
        assert_eq!((failure.exit, failure.hints.as_slice()), (Exit::Usage, ["h".to_owned()].as_slice()));
    }

    #[test]
    fn a_finding_shows_its_place_as_compilers_do() {
        let source = "import x\ndef workflow(settings:\n\tpass\n";
        let mut found = diagnostic_at("w.py", source, 21, "SyntaxError: '(' was never closed");
        found.hint = Some("close it".to_owned());
        insta::assert_snapshot!(render(&found), @r"
        w.py:2:13: SyntaxError: '(' was never closed
          2 | def workflow(settings:
            |             ^
          = close it
        ");
        let tab = diagnostic_at("w.py", source, source.find("pass").unwrap(), "m");
        assert_eq!(render(&tab), "w.py:3:2: m\n  3 | \tpass\n    | \t^");
        let end = diagnostic_at("w.py", "é", 99, "m");
        assert_eq!((end.line, end.column), (1, 2));
        let whole = Diagnostic { line: 0, column: 0, text: None, ..end };
        assert_eq!(render(&whole), "w.py: m");
    }
}
