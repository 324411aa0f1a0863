//! `runtime` and `replay`.

use super::*;

fn runtimes() -> Answer {
    let digest = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    let packages = json!([{"name": "requests", "version": "2.32.5"}, {"name": "hrflow", "version": "1.9.0"}]);
    Answer::Json(
        200,
        json!({"runtimes": [
            {"name": "hrflow-4", "default": false, "language": "python", "version": "3.14.0", "digest": digest,
             "packages": packages},
            {"name": "python", "default": true, "language": "python", "version": "3.14.0", "digest": digest,
             "packages": packages, "fusion": {"modules": 14, "merged": 13}}]}),
    )
}

#[test]
fn runtimes_are_listed_and_shown_with_their_packages() {
    let host = FakeHost::answering([runtimes(), runtimes(), runtimes(), runtimes()]);
    insta::assert_snapshot!(tidegate(&host, "", &["runtime", "list"]).page(), @r"
    exit 0
    --- stdout
    NAME      LANGUAGE       PACKAGES  DEFAULT  DIGEST
    hrflow-4  python 3.14.0         2  -        ba7816bf8f01
    python    python 3.14.0         2  default  ba7816bf8f01
    --- stderr
    ");
    insta::assert_snapshot!(tidegate(&host, "", &["runtime", "show", "python"]).page(), @r"
    exit 0
    --- stdout
    python  python 3.14.0, the default

      digest  ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad
      fused   13 of 14 modules

    PACKAGE   VERSION
    requests  2.32.5
    hrflow    1.9.0
    --- stderr
    ");
    assert_eq!(
        tidegate(&host, "", &["runtime", "show", "python", "--json"]).json()["packages"][1]["name"],
        "hrflow"
    );
    insta::assert_snapshot!(tidegate(&host, "", &["runtime", "show", "pyton"]).page(), @r"
    exit 1
    --- stdout
    --- stderr
    error: the host has no runtime pyton
    hint: did you mean python?
    ");
}

#[test]
fn a_runtime_is_installed_under_the_name_of_its_file() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("my-packages.wasm");
    std::fs::write(&file, "\0asm").unwrap();
    let installed = json!({"name": "my-packages", "default": false, "language": "python", "version": "3.14.0",
        "digest": "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad", "packages": []});
    let host = FakeHost::answering([Answer::Json(201, installed.clone()), Answer::Json(201, installed)]);
    let file = file.to_str().unwrap();
    let ended = tidegate(&host, "", &["runtime", "install", file]);
    assert!(
        ended.stderr.ends_with("installed my-packages, python 3.14.0 with 0 packages\n"),
        "{}",
        ended.stderr
    );
    assert_eq!(tidegate(&host, "", &["runtime", "install", file, "--name", "other"]).exit, 0);
    assert_eq!(host.lines(), ["PUT /api/v1/runtimes/my-packages", "PUT /api/v1/runtimes/other"]);
    assert_eq!(host.received()[0].headers["content-type"], "application/wasm");
}

#[test]
fn a_replay_sends_nothing_or_the_edited_request() {
    let answers = || [Answer::Json(200, run_detail("succeeded", None)), Answer::Json(200, run_log())];
    let host = FakeHost::answering(answers().into_iter().chain(answers()));
    assert_eq!(tidegate(&host, "", &["replay", RUN_ID]).exit, 0);
    assert_eq!(tidegate(&host, "{\"body\": 7}", &["replay", RUN_ID, "--request", "-"]).exit, 0);
    let received = host.received();
    assert_eq!(received[0].line, format!("POST /api/v1/runs/{RUN_ID}/replay"));
    assert_eq!(received[0].body.len(), 0);
    assert_eq!(received[2].json(), json!({"body": 7}));
}
