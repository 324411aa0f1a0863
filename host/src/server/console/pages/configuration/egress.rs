//! Where a workflow's requests may go: one destination a line.

use maud::{Markup, html};

use super::Draft;
use crate::api::WorkflowView;
use crate::registry::RegistryError;
use crate::server::console::form::Fields;
use crate::server::console::parts::Field;
use crate::workflow::Destination;

/// The fields.
pub(super) fn form(workflow: &WorkflowView, draft: &Draft<'_>) -> Markup {
    let listed = match draft.is_of("egress") {
        true => draft.typed.get("egress.which") == "listed",
        false => workflow.egress.is_some(),
    };
    let lines: Vec<_> = workflow.egress.iter().flatten().map(line).collect();
    let typed = draft.value("egress", "egress.destinations", lines.join("\n"));
    let field = Field {
        name: "egress.destinations",
        label: "Destinations",
        hint: Some(
            "One a line: a host, or *.company.com for all hosts below it; then, as needed, a port and the beginning of the path. Methods can stand in front: GET,POST api.company.com/v1. With no line, nothing goes out.",
        ),
        error: draft.error("egress"),
    };
    html! {
        p.soft { "Requests to addresses of private networks are refused in any case, unless the host's operator opened them." }
        div.check { input type="radio" id="egress-any" name="egress.which" value="any" checked[!listed];
            label for="egress-any" { "Wherever the host lets workflows go" } }
        div.check { input type="radio" id="egress-listed" name="egress.which" value="listed" checked[listed];
            label for="egress-listed" { "Only to the destinations below" } }
        (field.around(|id, about| html! {
            textarea.mono id=(id) name=(id) rows=(lines.len().clamp(3, 12)) spellcheck="false" placeholder="api.company.com"
                data-picks="listed" aria-describedby=[about] aria-invalid=[field.error.map(|_| "true")] { (typed) }
        }))
    }
}

/// What was typed; `None` for wherever the host lets workflows go.
///
/// # Errors
/// The line that is none.
pub(super) fn read(fields: &Fields) -> Result<Option<Vec<Destination>>, RegistryError> {
    if fields.get("egress.which") != "listed" {
        return Ok(None);
    }
    let lines = fields.raw("egress.destinations").lines().map(str::trim).filter(|line| !line.is_empty());
    lines.map(destination).collect::<Result<_, _>>().map(Some)
}

fn destination(line: &str) -> Result<Destination, RegistryError> {
    let wrong = |what: &str| RegistryError::Invalid {
        field: "egress",
        reason: format!("{line:.80?} {what}: write it like GET,POST api.company.com:8443/v1"),
    };
    let mut words = line.split_whitespace().rev();
    let place = words.next().unwrap_or_default();
    let methods = words.next().unwrap_or_default();
    if words.next().is_some() {
        return Err(wrong("has too many words"));
    }
    if place.contains("://") {
        return Err(wrong("is a URL, without its scheme it is a destination"));
    }
    let (host, path_prefix) = match place.find('/') {
        Some(at) => (&place[..at], Some(place[at..].to_owned())),
        None => (place, None),
    };
    let (host, port) = match host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, "")) => (address, None),
        Some((address, port)) => (address, Some(port.strip_prefix(':').unwrap_or(port))),
        None => match host.rsplit_once(':') {
            // An IPv6 address without brackets has no port.
            Some((name, port)) if !name.contains(':') => (name, Some(port)),
            _ => (host, None),
        },
    };
    let port = port.map(str::parse).transpose().map_err(|_| wrong("has a port that is none"))?;
    let methods = methods.split(',').filter(|method| !method.is_empty()).map(str::to_owned).collect();
    Ok(Destination { host: host.to_owned(), port, methods, path_prefix })
}

fn line(destination: &Destination) -> String {
    let Destination { host, port, methods, path_prefix } = destination;
    let methods = if methods.is_empty() { String::new() } else { format!("{} ", methods.join(",")) };
    let host = match (host.contains(':'), port) {
        (true, Some(port)) => format!("[{host}]:{port}"),
        (true, None) => format!("[{host}]"),
        (false, Some(port)) => format!("{host}:{port}"),
        (false, None) => host.clone(),
    };
    format!("{methods}{host}{}", path_prefix.as_deref().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn destinations_come_back_as_they_were_written() {
        for text in [
            "api.company.com",
            "*.company.com:8443/v1/a",
            "GET,POST api.company.com/v1",
            "PUT [2001:db8::1]:8443/x",
            "[2001:db8::1]",
            "192.0.2.1:81",
        ] {
            assert_eq!(line(&destination(text).unwrap()), text);
        }
        let plain = destination("2001:db8::1").unwrap();
        assert_eq!((plain.host.as_str(), plain.port), ("2001:db8::1", None));
    }

    #[test]
    fn a_line_that_is_none_is_named() {
        for (text, said) in [
            ("https://a.example", "is a URL"),
            ("a.example:http", "port"),
            ("GET POST a.example", "too many words"),
        ] {
            let error = destination(text).unwrap_err().to_string();
            assert!(error.contains(said) && error.contains(text), "{error}");
        }
        let read = |text: &str| read(&Fields::parse(text.as_bytes())).unwrap();
        assert_eq!(read("egress.destinations=a.example"), None);
        assert_eq!(read("egress.destinations=&egress.which=listed"), Some(Vec::new()));
    }
}
