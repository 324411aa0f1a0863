//! `demo`: what a newcomer sees.

use super::*;

#[test]
fn the_demo_shows_a_catch_and_a_pull_and_goes_on_serving() {
    let guests = Path::new(&guest("rust-catch")).parent().unwrap().to_str().unwrap().to_owned();
    let machine = Machine::with_python().with("TIDEGATE_GUESTS", &guests);
    let arguments = ["demo", "--data", "demo", "--listen", "127.0.0.1:0"];
    let ended = machine.run(&[&arguments[..], &["--once"]].concat());
    for part in [
        r#"{"greeting": "Hello, Ada!"}"#,
        "HTTP/1.1 200 OK",
        "HTTP/1.1 201 Created",
        "trigger   pull, schedule default",
        "The messaging service sent: [\"Ada Martin just applied! Call +33 1 00 00 00 01.\"]",
        "The applicant tracking system has them, each once: [\"p-1\",\"p-2\",\"p-3\",\"p-4\"]",
        "The other system has them now: [\"Ada\",\"Grace\",\"Barbara\"",
        "The host goes on serving at http://127.0.0.1:",
        &format!(
            "export PATH={}:$PATH",
            Path::new(env!("CARGO_BIN_EXE_tidegate")).parent().unwrap().display()
        ),
    ] {
        assert!(ended.ok().contains(part), "{part:?} is not in {ended:#?}");
    }
    assert!(!ended.stdout.contains("failed"), "{ended:#?}");

    // Over what the first one left, without end.
    let demo = Going::start(machine.command(&arguments));
    demo.line_with("The host goes on serving");
    let url = demo.line_with("curl -i").split_whitespace().last().unwrap().to_owned();
    assert_eq!(post(&url, r#"{"name": "Grace"}"#).2, r#"{"greeting": "Hello, Grace!"}"#);
    assert_eq!(demo.terminate(), Some(0));
}
