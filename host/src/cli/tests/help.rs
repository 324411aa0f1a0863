//! The help of every command.

use clap::CommandFactory as _;

use super::*;

#[test]
fn every_command_has_help() {
    let mut command = Cli::command().term_width(80);
    command.build();
    let mut pages = vec![command.render_help().to_string()];
    for sub in command.get_subcommands_mut().filter(|sub| !sub.is_hide_set()) {
        pages.push(sub.render_long_help().to_string());
        pages.extend(sub.get_subcommands_mut().map(|below| below.render_long_help().to_string()));
    }
    insta::assert_snapshot!("help", pages.join("\n----\n"));
}

#[test]
fn the_command_line_is_consistent() {
    Cli::command().debug_assert();
}

#[test]
fn usage_errors_have_exit_code_2_and_say_what_is_there() {
    let host = FakeHost::answering([]);
    for (arguments, part) in [
        (vec!["lsit"], "similar subcommand exists: 'list'"),
        (vec!["show"], "<NAME>"),
        (vec!["show", "Sync It"], "has 'S' at position 1"),
        (vec!["show-run", "xyz"], "is not an id"),
        (vec!["runs", "sync", "--status", "broken"], "possible values: queued"),
        (vec!["runs", "sync", "--limit", "0"], "0 is not in 1..=10000"),
        (vec!["deploy", "x.py", "--every", "1m", "--cron", "* * * * *"], "cannot be used with"),
        (vec!["deploy", "x.py", "--timezone", "UTC"], "--cron"),
        (vec!["rollback", "sync", "0"], "0 is not in 1.."),
        (vec!["logs", "sync", "--follow", "--json"], "cannot be used with"),
        (vec!["archive", "sync"], "needs --yes"),
        (vec!["dead", "redrive"], "--workflow NAME or --all"),
        (vec!["dead", "redrive", RUN_ID, "--all"], "cannot be used with"),
        (vec!["replay"], "<ID>"),
        (vec!["replay", RUN_ID, "--workflow", "sync"], "cannot be used with"),
        (vec!["replay", RUN_ID, "--status", "failed"], "cannot be used with"),
        (vec!["runs", "sync", "--since", "soon"], "10m"),
        (vec!["settings", "set", "sync"], "NAME[=VALUE]"),
    ] {
        let ended = tidegate(&host, "", &arguments);
        assert_eq!(ended.exit, 2, "{arguments:?}");
        assert!(ended.stderr.contains(part), "{arguments:?}: {}", ended.stderr);
        assert_eq!(ended.stdout, "");
    }
    assert_eq!(host.lines(), Vec::<String>::new(), "nothing was asked of the host");
}
