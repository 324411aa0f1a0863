//! What the commands print: data to standard output, the rest to standard error.
//!
//! Colour is used on a terminal only and honours `NO_COLOR`. Text that a guest or a
//! host made is cleaned before it reaches a terminal, so that a log line cannot move
//! the cursor or set the title.

use std::fmt::Display;
use std::io::{self, IsTerminal, Write};

use anstyle::{AnsiColor, Style};
use jiff::tz::TimeZone;
use serde::Serialize;

use super::error::{Failure, Result, render};
use super::table::Tone;

/// Where a command prints, and how.
pub(crate) struct Output {
    stdout: Box<dyn Write + Send>,
    stderr: Box<dyn Write + Send>,
    /// Columns of the terminal at standard output; `None` when it is none, and then
    /// nothing is cut.
    pub(crate) width: Option<u16>,
    /// Paints what goes to standard output.
    pub(crate) paint: Paint,
    /// Paints what goes to standard error.
    pub(crate) paint_err: Paint,
    /// The zone that times are shown in.
    pub(crate) zone: TimeZone,
}

/// Paints, or does not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Paint {
    /// Whether it paints.
    pub(crate) on: bool,
}

impl Paint {
    fn with(self, style: Style, text: impl Display) -> String {
        if self.on { format!("{style}{text}{style:#}") } else { text.to_string() }
    }

    /// Headings and names.
    pub(crate) fn bold(self, text: impl Display) -> String {
        self.with(Style::new().bold(), text)
    }

    /// What matters less.
    pub(crate) fn dim(self, text: impl Display) -> String {
        self.with(Style::new().dimmed(), text)
    }

    /// What went well.
    pub(crate) fn good(self, text: impl Display) -> String {
        self.with(AnsiColor::Green.on_default(), text)
    }

    /// What wants a look.
    pub(crate) fn warn(self, text: impl Display) -> String {
        self.with(AnsiColor::Yellow.on_default(), text)
    }

    /// What failed.
    pub(crate) fn bad(self, text: impl Display) -> String {
        self.with(AnsiColor::Red.on_default(), text)
    }

    /// By a table's tone.
    pub(crate) fn toned(self, text: impl Display, tone: Tone) -> String {
        match tone {
            Tone::Plain => text.to_string(),
            Tone::Bold => self.bold(text),
            Tone::Dim => self.dim(text),
            Tone::Good => self.good(text),
            Tone::Warn => self.warn(text),
            Tone::Bad => self.bad(text),
        }
    }

    /// Labels of messages.
    fn label(self, color: AnsiColor, text: &str) -> String {
        self.with(color.on_default().bold(), text)
    }
}

impl Output {
    /// The process's own standard output and standard error.
    pub(crate) fn of_process() -> Self {
        let colours =
            |choice: anstream::ColorChoice| Paint { on: !matches!(choice, anstream::ColorChoice::Never) };
        let columns = || rustix::termios::tcgetwinsize(io::stdout()).ok().map(|size| size.ws_col);
        let width = io::stdout().is_terminal().then(columns).flatten();
        Self {
            // A terminal that does not know its size says 0.
            width: width.filter(|columns| *columns > 0),
            paint: colours(anstream::AutoStream::choice(&io::stdout())),
            paint_err: colours(anstream::AutoStream::choice(&io::stderr())),
            stdout: Box::new(io::BufWriter::new(io::stdout())),
            stderr: Box::new(io::stderr()),
            zone: TimeZone::system(),
        }
    }

    /// One line of data.
    pub(crate) fn line(&mut self, text: impl Display) -> Result<()> {
        written(writeln!(self.stdout, "{text}"))
    }

    /// One JSON document, and nothing else belongs on standard output then.
    pub(crate) fn json(&mut self, document: &impl Serialize) -> Result<()> {
        let text = serde_json::to_string_pretty(document)?;
        self.line(text)?;
        self.flush()
    }

    /// Hands over what was printed so far, for readers that wait for it.
    pub(crate) fn flush(&mut self) -> Result<()> {
        written(self.stdout.flush())
    }

    /// One line about what happens, beside the data.
    pub(crate) fn note(&mut self, text: impl Display) {
        // On a terminal both streams are read as one. Where either is closed there is
        // nobody to tell.
        let _ = self.stdout.flush();
        let _ = writeln!(self.stderr, "{text}");
    }

    /// Something that the user should know of, though it went on.
    pub(crate) fn warning(&mut self, text: impl Display) {
        let label = self.paint_err.label(AnsiColor::Yellow, "warning:");
        self.note(format!("{label} {text}"));
    }

    /// What to do next.
    pub(crate) fn hint(&mut self, text: impl Display) {
        let label = self.paint_err.label(AnsiColor::Cyan, "hint:");
        self.note(format!("{label} {text}"));
    }

    /// The error line, the findings, the hints.
    pub(crate) fn failure(&mut self, failure: &Failure) {
        let label = self.paint_err.label(AnsiColor::Red, "error:");
        self.note(format!("{label} {}", clean(&failure.line())));
        for line in &failure.details {
            self.note(format!("  {}", clean(line)));
        }
        for diagnostic in &failure.diagnostics {
            self.note(clean_lines(&render(diagnostic)));
        }
        for hint in &failure.hints {
            self.hint(clean(hint));
        }
    }
}

fn written(result: io::Result<()>) -> Result<()> {
    result.map_err(|error| match error.kind() {
        io::ErrorKind::BrokenPipe => Failure::reader_gone(),
        _ => Failure::from(error).context("write to standard output"),
    })
}

/// The text on one line, with control characters made visible.
pub(crate) fn clean(text: &str) -> String {
    escape(text, |c| c == '\t')
}

/// The text with control characters made visible, its line breaks kept.
pub(crate) fn clean_lines(text: &str) -> String {
    escape(text, |c| c == '\t' || c == '\n')
}

fn escape(text: &str, keep: impl Fn(char) -> bool) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        // Bidirectional controls reorder what stands around them (CVE-2021-42574).
        let bidi = matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        if (c.is_control() || bidi) && !keep(c) {
            out.extend(c.escape_default());
        } else {
            out.push(c);
        }
    }
    out
}

#[cfg(test)]
pub(crate) mod capture {
    //! Output that tests read.

    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    pub(crate) struct Buffer(Arc<Mutex<Vec<u8>>>);

    impl Write for Buffer {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Buffer {
        pub(crate) fn text(&self) -> String {
            String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
        }
    }

    impl Output {
        /// Output into two buffers, as on a terminal of `width` columns without colour.
        pub(crate) fn captured(width: Option<u16>) -> (Self, Buffer, Buffer) {
            let (stdout, stderr) = (Buffer::default(), Buffer::default());
            let output = Self {
                stdout: Box::new(stdout.clone()),
                stderr: Box::new(stderr.clone()),
                width,
                paint: Paint { on: false },
                paint_err: Paint { on: false },
                zone: TimeZone::get("Europe/Paris").unwrap(),
            };
            (output, stdout, stderr)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::error::Exit;

    #[test]
    fn control_characters_of_guests_never_reach_a_terminal() {
        assert_eq!(clean("a\x1b]0;title\x07b\tc\nd"), "a\\u{1b}]0;title\\u{7}b\tc\\nd");
        assert_eq!(clean_lines("a\r\nb"), "a\\r\nb");
        assert_eq!(clean("x\u{202e}y\u{9b}z"), "x\\u{202e}y\\u{9b}z");
        assert_eq!(clean("naïve 日本"), "naïve 日本");
    }

    #[test]
    fn a_failure_is_a_line_findings_and_hints_on_standard_error() {
        let (mut output, stdout, stderr) = Output::captured(None);
        let found = super::super::error::diagnostic_at("w.py", "x = (\n", 4, "never closed");
        let failure = Failure::new("refused\x1b[2J").diagnostics(vec![found]).hint("mend it");
        output.failure(&failure);
        assert_eq!(stdout.text(), "");
        insta::assert_snapshot!(stderr.text(), @r"
        error: refused\u{1b}[2J
        w.py:1:5: never closed
          1 | x = (
            |     ^
        hint: mend it
        ");
    }

    #[test]
    fn a_reader_that_left_ends_the_command_quietly() {
        struct Closed;
        impl Write for Closed {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::BrokenPipe.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let (mut output, _, _) = Output::captured(None);
        output.stdout = Box::new(Closed);
        assert_eq!(output.line("x").unwrap_err().exit, Exit::ReaderGone);
    }

    #[test]
    fn paint_is_text_alone_when_it_is_off() {
        assert_eq!(Paint { on: false }.bad("x"), "x");
        assert_eq!(Paint { on: true }.bad("x"), "\u{1b}[31mx\u{1b}[0m");
    }
}
