//! Reads from a Python source, without running it, which kind of workflow it holds.

use crate::workflow::Kind;

/// The kind that the top-level `def workflow(...)` has by its parameters: two are a
/// catch (`_request`, `settings`), one is a pull (`settings`). `None` when there is no
/// such function or when its parameters fit both or neither. Of several, the last
/// counts, as in Python.
pub(crate) fn kind_of(source: &str) -> Option<Kind> {
    let code = without_texts(source);
    let mut kind = None;
    let mut line_start = 0;
    for line in code.split_inclusive('\n') {
        let words = line.strip_prefix("async ").unwrap_or(line).trim_start_matches(' ');
        let at_margin = !line.starts_with([' ', '\t']);
        let name = words.strip_prefix("def ").map(|rest| rest.trim_start_matches(' '));
        let rest = name.and_then(|name| name.strip_prefix("workflow"));
        if let (true, Some(rest)) = (at_margin, rest)
            && rest.trim_start().starts_with('(')
        {
            let open = code[line_start..].find('(').map(|index| line_start + index);
            kind = open.and_then(|open| kind_of_parameters(&code[open..]));
        }
        line_start += line.len();
    }
    kind
}

/// `code` begins with the parenthesis of a parameter list.
fn kind_of_parameters(code: &str) -> Option<Kind> {
    let parameters = split_parameters(code)?;
    let (mut required, mut accepted) = (0, 0);
    for parameter in &parameters {
        match parameter.as_str() {
            "/" => {}
            // Nothing behind it can be given by position.
            "*" => break,
            starred if starred.starts_with("**") => break,
            starred if starred.starts_with('*') => return None,
            named => {
                accepted += 1;
                required += usize::from(!has_default(named));
            }
        }
    }
    match (required, accepted) {
        (1, 1) | (0, 1) => Some(Kind::Pull),
        (2, 2) | (0, 2) => Some(Kind::Catch),
        // `(_request, settings=None)` can be called with one argument too, but a pull
        // has no use for a second one.
        (1, 2) if parameters[0].contains("request") || parameters[0].contains("body") => Some(Kind::Catch),
        _ => None,
    }
}

/// The parameters, trimmed; `None` when the list does not end.
fn split_parameters(code: &str) -> Option<Vec<String>> {
    let mut depth = 0;
    let mut parameters = vec![String::new()];
    for c in code.chars() {
        match c {
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' => depth -= 1,
            ',' if depth == 1 => {
                parameters.push(String::new());
                continue;
            }
            _ => {}
        }
        if depth == 0 {
            let mut parameters: Vec<String> = parameters.iter().map(|p| p.trim().to_owned()).collect();
            parameters.retain(|parameter| !parameter.is_empty());
            return Some(parameters);
        }
        let opening = depth == 1 && c == '(' && parameters.len() == 1 && parameters[0].is_empty();
        if !opening && let Some(last) = parameters.last_mut() {
            last.push(c);
        }
    }
    None
}

fn has_default(parameter: &str) -> bool {
    let mut depth = 0;
    let mut previous = ' ';
    let mut characters = parameter.chars().peekable();
    while let Some(c) = characters.next() {
        match c {
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' => depth -= 1,
            '=' if depth == 0
                && !matches!(previous, '=' | '!' | '<' | '>')
                && characters.peek() != Some(&'=') =>
            {
                return true;
            }
            _ => {}
        }
        previous = c;
    }
    false
}

/// The source with the content of its strings and comments blanked, so that what is
/// left of quotes, parentheses and `def` is code. Line breaks stay.
fn without_texts(source: &str) -> String {
    let source = source.trim_start_matches('\u{feff}').replace("\r\n", "\n").replace('\r', "\n");
    let mut out = String::with_capacity(source.len());
    let mut rest = source.as_str();
    while let Some(c) = rest.chars().next() {
        match c {
            '#' => rest = &rest[rest.find('\n').unwrap_or(rest.len())..],
            '"' | '\'' => {
                let end = string_end(rest, c);
                out.push('"');
                out.extend(rest[..end].chars().filter(|c| *c == '\n'));
                rest = &rest[end..];
            }
            _ => {
                out.push(c);
                rest = &rest[c.len_utf8()..];
            }
        }
    }
    out
}

/// Where the string that begins here ends. Raw strings need no care: there, too, a
/// quote behind a backslash does not end the string.
fn string_end(text: &str, quote: char) -> usize {
    let long: String = [quote; 3].iter().collect();
    let is_long = text.starts_with(&long);
    let mut escaped = false;
    let start = if is_long { 3 } else { 1 };
    for (index, c) in text.char_indices().skip(start) {
        if escaped {
            escaped = false;
        } else if c == '\\' {
            escaped = true;
        } else if is_long && text[index..].starts_with(&long) {
            return index + 3;
        } else if !is_long && (c == quote || c == '\n') {
            return index + usize::from(c == quote);
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_tell_the_kind() {
        for (source, kind) in [
            ("def workflow(_request, settings): pass", Some(Kind::Catch)),
            ("def workflow(settings): pass", Some(Kind::Pull)),
            ("def workflow( _request: dict, settings: dict ) -> dict | None:\n  pass", Some(Kind::Catch)),
            ("def workflow(settings: Dict[str, Any]) -> None: ...", Some(Kind::Pull)),
            (
                "def workflow(\n    _request: Dict[str, Any],  # the body, and more\n    settings: dict,\n):\n",
                Some(Kind::Catch),
            ),
            ("def workflow(settings={}): pass", Some(Kind::Pull)),
            ("def workflow(settings=f(1, 2)): pass", Some(Kind::Pull)),
            ("def workflow(_request, settings=None): pass", Some(Kind::Catch)),
            ("def workflow(settings, debug=False): pass", None),
            ("def workflow(settings, /): pass", Some(Kind::Pull)),
            ("def workflow(settings, *, debug=False, **rest): pass", Some(Kind::Pull)),
            ("def workflow(*args): pass", None),
            ("def workflow(): pass", None),
            ("def workflow(a, b, c): pass", None),
            ("async def workflow(settings): pass", Some(Kind::Pull)),
            ("def  workflow (a, settings): pass", Some(Kind::Catch)),
            ("\u{feff}def workflow(settings):\r\n    pass", Some(Kind::Pull)),
            ("def workflow(a: Literal['x,y'], settings): pass", Some(Kind::Catch)),
        ] {
            assert_eq!(kind_of(source), kind, "{source}");
        }
    }

    #[test]
    fn only_the_last_function_at_the_margin_counts() {
        for (source, kind) in [
            ("x = 1", None),
            ("def workflows(settings): pass", None),
            ("def my_workflow(settings): pass", None),
            ("class A:\n    def workflow(self, settings): pass", None),
            ("# def workflow(settings):\n", None),
            (
                "\"\"\"\ndef workflow(a, settings): pass\n\"\"\"\ndef workflow(settings): pass",
                Some(Kind::Pull),
            ),
            ("x = 'it\\'s'\ndef workflow(settings): pass", Some(Kind::Pull)),
            ("x = r'\\\\'\ndef workflow(settings): pass", Some(Kind::Pull)),
            ("def workflow(settings): pass\ndef workflow(_request, settings): pass", Some(Kind::Catch)),
            ("def workflow(settings", None),
            ("def workflow(a, settings: '(') : pass", Some(Kind::Catch)),
        ] {
            assert_eq!(kind_of(source), kind, "{source}");
        }
    }
}
