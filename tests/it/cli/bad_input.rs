//! What people get wrong: each is told in one line what is wrong, in another what to do
//! next, and leaves nothing behind.

use std::os::unix::fs::PermissionsExt;

use super::*;

/// Runs a command that must fail, and compares all that it says.
#[track_caller]
fn told(ended: &Ended, exit: i32, error: &str, hint: &str) {
    let expected = format!("error: {error}\nhint: {hint}\n");
    assert_eq!((ended.exit, ended.stdout.as_str(), ended.stderr.as_str()), (Some(exit), "", &*expected));
}

#[test]
fn a_program_that_is_no_workflow() {
    let host = Host::start();
    let write = |name: &str, bytes: &[u8]| std::fs::write(host.machine.path(name), bytes).unwrap();
    write("text.wasm", b"hello");
    write("empty.wasm", b"");
    write("core.wasm", b"\0asm\x01\0\0\0");
    write("cut.wasm", &std::fs::read(guest("echo")).unwrap()[..20_000]);
    write("large.wasm", &vec![0; 65 << 20]);
    let not_wasm = "this is not a WebAssembly component: it does not begin with the wasm magic number";
    let upload = "upload the .wasm file that `tidegate build` makes";
    let world = "build against the world `workflow` of tidegate:workflow@0.1.0; see wit/";
    for (file, error, hint) in [
        ("text.wasm", not_wasm, upload),
        ("empty.wasm", not_wasm, upload),
        (
            "core.wasm",
            "this is a core WebAssembly module, not a component",
            "build for the target wasm32-wasip2, which makes components, or use `wasm-tools component new`",
        ),
        (
            "cut.wasm",
            "the component is cut off: it ends at byte 20000, in the middle of a section",
            "upload the file again",
        ),
        (
            "large.wasm",
            "the body is over the limit of 67108864 bytes",
            "send less; the operator sets the limits, in the configuration's section server",
        ),
        (
            &guest("no-export"),
            "the component was built for another world: it does not export the function `workflow`, only greet",
            world,
        ),
        (
            &guest("odd-import"),
            "the component imports what this host does not offer: odd:device/lamp@0.1.0",
            "workflows may import WASI 0.2, wasi:http/outgoing-handler and tidegate:workflow; see wit/",
        ),
        (
            &guest("wrong-type"),
            "the component does not fit the interface of this host: type-checking export func `workflow`: \
             expected 2-tuple, found 1-tuple",
            world,
        ),
    ] {
        told(&host.run(&["deploy", file, "--kind", "catch"]), 1, error, hint);
    }
    let kind = host.run(&["deploy", &guest("echo")]);
    let error = format!("{} does not tell whether it is a catch or a pull", guest("echo"));
    told(&kind, 2, &error, "--kind catch is started by requests, --kind pull by the clock");
    assert_eq!(host.run(&["list", "--json"]).json()["workflows"], serde_json::json!([]));
}

#[test]
fn a_schedule_that_makes_no_sense() {
    let host = Host::start();
    let pull = guest("pull");
    let deploy = |flags: &[&str]| host.run(&[&["deploy", &pull, "--kind", "pull"], flags].concat());
    let cron = "for example `30 9 * * 1-5`: at 09:30 on weekdays";
    let zone = "give an IANA name such as `Europe/Paris`, `America/New_York` or `UTC`";
    let interval = "write it like 90s, 15m, 1h30m or 2d";
    let default = "the schedule \"default\" is wrong: ";
    for (flags, error, hint) in [
        (
            &["--cron", "61 * * * *"][..],
            "the cron expression \"61 * * * *\" cannot be read: the minute field (field 1) has \"61\" at \
             position 1; allowed: 0 to 59",
            cron,
        ),
        (
            &["--cron", "0 3 * * MOO"],
            "the cron expression \"0 3 * * MOO\" cannot be read: the day of week field (field 5) has \"MOO\" \
             at position 9; allowed: 0 to 7 (0 and 7 are Sunday) or SUN to SAT",
            cron,
        ),
        (
            &["--cron", "* * *"],
            "the cron expression \"* * *\" cannot be read: it has 3 fields; five (minute, hour, day of month, \
             month, day of week) or six (second first) are needed",
            cron,
        ),
        (
            &["--cron", "0 0 31 2 *"],
            "the cron expression \"0 0 31 2 *\" is never due: no year has such a day",
            "check day of month against month",
        ),
        (
            &["--cron", "0 3 * * *", "--timezone", "Europe/Pariss"],
            "there is no time zone \"Europe/Pariss\", the nearest is Europe/Paris",
            zone,
        ),
        (
            &["--every", "10ms"],
            "due every 10ms, but at least 1s apart is allowed",
            "the operator sets the minimum by schedule.interval_ms_min, now 1000",
        ),
    ] {
        told(&deploy(flags), 1, &format!("{default}{error}"), hint);
    }
    for (every, error) in [
        ("0s", "an interval cannot be 0"),
        ("0", "the interval has no unit behind 0"),
        ("soon", "the interval has \"soon\" at position 1 where a unit is needed"),
    ] {
        let error = format!("the interval \"{every}\" is wrong: {error}");
        told(&deploy(&["--every", every]), 1, &error, interval);
    }
    assert_eq!(host.run(&["list", "--json"]).json()["workflows"], serde_json::json!([]), "nothing was made");
    deploy(&["--cron", "0 3 * * *", "--timezone", "Europe/Paris"]).ok();
    let shown = host.run(&["show", "pull", "--json"]).json();
    assert_eq!(shown["schedules"][0]["timezone"], "Europe/Paris");
}

#[test]
fn a_name_that_cannot_be_one() {
    let host = Host::start();
    let long = "a".repeat(64);
    for (name, reason) in [
        ("", "a workflow name cannot be empty"),
        (&*long, "a workflow name has at most 63 characters, this one has 64"),
        (
            "Echo",
            "the workflow name \"Echo\" has 'E' at position 1: use lower-case letters, digits and inner hyphens",
        ),
        (
            "a b",
            "the workflow name \"a b\" has ' ' at position 2: use lower-case letters, digits and inner hyphens",
        ),
    ] {
        let ended = host.run(&["deploy", &guest("echo"), "--kind", "catch", "--name", name]);
        ended.failed(2, &format!("error: invalid value '{name}' for '--name <NAME>': {reason}\n"));
    }
    // One that is taken is taken for the workflow that has it.
    host.run(&["deploy", &guest("echo"), "--kind", "catch"]).ok();
    told(
        &host.run(&["deploy", &guest("pull"), "--kind", "pull", "--name", "echo"]),
        1,
        "echo is a catch, and this is a pull",
        "a workflow's kind never changes: --name deploys this as another workflow",
    );
    told(
        &host.run(&["archive", "echo"]),
        2,
        "archiving echo deletes its versions, settings and runs for good, so it needs --yes",
        "`tidegate pause echo` stops it and keeps everything",
    );
    told(
        &host.run(&["show", "ecko"]),
        1,
        "the workflow \"ecko\" does not exist",
        "`tidegate list`, `versions NAME` and `runs NAME` show what there is",
    );
}

#[test]
fn a_data_folder_that_cannot_be_used() {
    let machine = Machine::new();
    let hint = "choose a folder that this user may write with --data";
    std::fs::write(machine.path("file"), "").unwrap();
    let serve = |data: &str| ["serve", "--data", data, "--listen", "127.0.0.1:0"].map(str::to_owned);
    let path = |name: &str| machine.path(name).to_str().unwrap().to_owned();
    let run = |data: &str| machine.run(&serve(data).each_ref().map(String::as_str));
    let error = format!("making the data folder {} failed: not a directory", path("file"));
    told(&run(&path("file")), 1, &error, hint);

    for name in ["bare", "used"] {
        std::fs::create_dir(machine.path(name)).unwrap();
    }
    let serving = Going::start(machine.command(&serve(&path("used")).each_ref().map(String::as_str)));
    serving.line_with("listening on");
    assert_eq!(serving.terminate(), Some(0));
    for name in ["bare", "used"] {
        std::fs::set_permissions(machine.path(name), PermissionsExt::from_mode(0o555)).unwrap();
        let ended = unprivileged(&machine, &serve(&path(name)).each_ref().map(String::as_str));
        std::fs::set_permissions(machine.path(name), PermissionsExt::from_mode(0o755)).unwrap();
        let said = ended.failed(1, &path(name));
        assert!(said.contains("Permission denied") && said.contains(&format!("hint: {hint}\n")), "{said}");
    }
}

/// Runs a command as a user for whom the permissions of files count: root without its
/// capabilities is one.
fn unprivileged(machine: &Machine, arguments: &[&str]) -> Ended {
    let command = machine.command(arguments);
    if !rustix::process::geteuid().is_root() {
        return machine.run(arguments);
    }
    let mut bare = Command::new("setpriv");
    bare.args(["--bounding-set=-all", "--inh-caps=-all"]).arg(command.get_program()).args(command.get_args());
    bare.current_dir(machine.home.path()).env_clear().env("HOME", machine.home.path());
    ended(bare.stdin(Stdio::null()).output().unwrap())
}
