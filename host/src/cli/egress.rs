//! `tidegate egress show|set|open`.

use clap::{Args, Subcommand};
use serde_json::Value;

use super::error::{Failure, Result};
use super::output::clean;
use super::table::{Column, Shown, Table, Tone};
use super::{Context, Format};
use crate::api::{PatchWorkflow, WorkflowView};
use crate::workflow::{Destination, WorkflowName};

/// Show and set where a workflow's requests may go
#[derive(Debug, Subcommand)]
pub(crate) enum EgressCommand {
    Show(ShowArgs),
    Set(SetArgs),
    Open(OpenArgs),
}

/// Show where a workflow's requests may go
#[derive(Debug, Args)]
pub(crate) struct ShowArgs {
    /// The workflow
    name: WorkflowName,
    #[command(flatten)]
    format: Format,
}

/// Let a workflow's requests go to these destinations only
///
/// A destination is a host, *.host for what is below it, with a port and a path prefix
/// where they matter, and with methods in front: "api.example.com",
/// "GET,POST *.example.com:8443/v1". Without a port it is 443 for https and 80 for http.
#[derive(Debug, Args)]
pub(crate) struct SetArgs {
    /// The workflow
    name: WorkflowName,
    /// All its destinations
    #[arg(value_name = "DESTINATION", required_unless_present = "nowhere", conflicts_with = "nowhere")]
    destinations: Vec<String>,
    /// Let no request out
    #[arg(long)]
    nowhere: bool,
    #[command(flatten)]
    format: Format,
}

/// Let a workflow's requests go wherever the host lets workflows go
#[derive(Debug, Args)]
pub(crate) struct OpenArgs {
    /// The workflow
    name: WorkflowName,
    #[command(flatten)]
    format: Format,
}

/// Runs one of the commands.
pub(crate) fn run(command: &EgressCommand, context: &mut Context) -> Result<()> {
    match command {
        EgressCommand::Show(args) => show(args, context),
        EgressCommand::Set(args) => {
            let read = |text: &String| parse(text).map_err(Failure::usage);
            let list = args.destinations.iter().map(read).collect::<Result<Vec<_>>>()?;
            change(&args.name, Some(list), args.format, context)
        }
        EgressCommand::Open(args) => change(&args.name, None, args.format, context),
    }
}

fn show(args: &ShowArgs, context: &mut Context) -> Result<()> {
    let view: WorkflowView = context.client()?.get(&path(&args.name))?;
    let out = &mut context.out;
    if args.format.json {
        return out.json(&view.egress);
    }
    match view.egress.as_deref() {
        None => out.note(format!("{} may send requests wherever this host lets workflows", args.name)),
        Some([]) => out.note(format!("{} may send no requests", args.name)),
        Some(list) => {
            let mut table = Table::new([
                Column::text("HOST"),
                Column::text("PORT"),
                Column::text("METHODS"),
                Column::text("PATH").cut(),
            ]);
            for one in list {
                let methods = if one.methods.is_empty() { "all".to_owned() } else { one.methods.join(", ") };
                table.row([
                    Shown::toned(&one.host, Tone::Bold),
                    one.port.map_or("80, 443".to_owned(), |port| port.to_string()).into(),
                    clean(&methods).into(),
                    one.path_prefix.as_deref().unwrap_or("/").into(),
                ]);
            }
            return table.print(out);
        }
    }
    Ok(())
}

fn change(
    name: &WorkflowName,
    list: Option<Vec<Destination>>,
    format: Format,
    context: &mut Context,
) -> Result<()> {
    let patch = PatchWorkflow { egress: Some(list), ..PatchWorkflow::default() };
    let answer: Value = context.client()?.patch(&path(name), &patch)?;
    let out = &mut context.out;
    if format.json {
        return out.json(&answer["egress"]);
    }
    out.note(match answer["egress"].as_array().map(Vec::len) {
        None => format!("{name} may send requests wherever this host lets workflows"),
        Some(0) => format!("{name} may send no requests"),
        Some(1) => format!("{name} may send requests to this destination, and nowhere else"),
        Some(count) => format!("{name} may send requests to these {count} destinations, and nowhere else"),
    });
    Ok(())
}

fn path(name: &WorkflowName) -> String {
    format!("/api/v1/workflows/{name}")
}

/// Reads `[METHOD,... ]HOST[:PORT][/PATH]`.
fn parse(text: &str) -> std::result::Result<Destination, String> {
    let (methods, place) = match text.trim().rsplit_once(' ') {
        Some((methods, place)) => {
            (methods.split([',', ' ']).filter(|word| !word.is_empty()).collect(), place)
        }
        None => (Vec::new(), text.trim()),
    };
    let wrong = |reason: &str| format!("the destination {text:?} {reason}");
    if place.contains("://") {
        return Err(wrong("is a URL: write the host, and port and path where they matter"));
    }
    let (authority, path_prefix) = match place.find('/') {
        Some(at) => (&place[..at], Some(place[at..].to_owned())),
        None => (place, None),
    };
    let (host, port) = match authority.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, port)) => (address, port.strip_prefix(':')),
        None => authority.split_once(':').map_or((authority, None), |(host, port)| (host, Some(port))),
    };
    let port =
        port.map(|port| port.parse().map_err(|_| wrong("has a port that is no number"))).transpose()?;
    let methods = methods.into_iter().map(str::to_owned).collect();
    let destination = Destination { host: host.to_owned(), port, methods, path_prefix };
    destination.checked().map_err(|error| wrong(&error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn destination_is_read_as_it_is_said() {
        let read = |text: &str| {
            let one = parse(text).unwrap();
            (one.methods.join(","), one.host, one.port, one.path_prefix.unwrap_or_default())
        };
        let of = |methods: &str, host: &str, port, path: &str| {
            (methods.to_owned(), host.to_owned(), port, path.to_owned())
        };
        assert_eq!(read("API.example.com"), of("", "api.example.com", None, ""));
        assert_eq!(
            read("GET,POST *.example.com:8443/v1"),
            of("GET,POST", "*.example.com", Some(8443), "/v1")
        );
        assert_eq!(read("GET, HEAD a.example/"), of("GET,HEAD", "a.example", None, "/"));
        assert_eq!(read("[fd00::1]:80/x"), of("", "fd00::1", Some(80), "/x"));
        assert_eq!(read("[fd00::1]"), of("", "fd00::1", None, ""));
        for (text, reason) in [
            ("https://a.example", "is a URL"),
            ("a.example:http", "has a port that is no number"),
            ("a.example:0", "has port 0"),
            ("get a.example", "has a method that is none"),
            ("a..example", "is not a host name"),
            ("a.example/../x", "has a path_prefix"),
        ] {
            assert!(parse(text).unwrap_err().contains(reason), "{text}: {:?}", parse(text));
        }
    }
}
