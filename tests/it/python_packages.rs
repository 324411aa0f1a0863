//! The stock runtimes: what they say they hold, and that all of it works.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use crate::support::python;
use crate::support::python_host::{Host, Server, limits, tick};

/// An answer of the HR API: it tells by which call.
fn profile(method: &str, path: &str) -> Value {
    json!([200, method, format!("/v1/{path}")])
}

/// What a program returns, given the address of a server that plays every service.
async fn value(host: &Host, server: &Server, program: &str) -> Value {
    let path = python::repository().join(format!("tests/python/programs/{program}.py"));
    let source = host.source(&format!("{program}.py"), &std::fs::read_to_string(path).unwrap()).await;
    let mut settings = Map::new();
    settings.insert("URL".to_owned(), format!("http://127.0.0.1:{}", server.port).into());
    let ran = host.run(tick(), Some(source.unwrap()), &settings, None).await;
    let outcome = ran.report.end.unwrap_or_else(|fault| panic!("{program}: {fault:?}"));
    serde_json::from_str(outcome.value.as_deref().unwrap()).unwrap()
}

/// Packages by name, as requirements pin them.
fn pinned(runtime: &str) -> BTreeSet<String> {
    let file = python::repository().join(format!("runtimes/{runtime}/requirements.txt"));
    let text = std::fs::read_to_string(file).unwrap();
    let pins = text.lines().filter(|line| !line.starts_with([' ', '#']));
    pins.map(|line| line.trim_end_matches(" \\").to_owned()).collect()
}

/// The runtime says what its requirements pin, and each of these packages is in the
/// snapshot and can be imported.
async fn holds_what_it_pins(host: &Host, server: &Server, runtime: &str) {
    let said = host.engine.describe(&host.component, limits(None)).await.unwrap();
    assert_eq!((said.language.as_str(), said.version.starts_with("3.14.")), ("python", true));
    let name = |name: &str| name.to_lowercase().replace('_', "-");
    let told: BTreeSet<_> =
        said.packages.iter().map(|package| format!("{}=={}", name(&package.name), package.version)).collect();
    assert_eq!(told, pinned(runtime));

    let imported = value(host, server, "imports").await;
    let imported = imported.as_object().unwrap();
    assert_eq!(imported.len(), told.len(), "{imported:#?}");
    for (package, modules) in imported {
        assert_ne!(modules[0], json!([]), "{package} has no module");
        assert_eq!(modules[1], json!([]), "{package} is imported by each run that asks for it");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_package_of_the_default_runtime_works() {
    let (server, host) = (Server::start("server.py", &[]), Host::new("").await);
    holds_what_it_pins(&host, &server, "python").await;
    assert_eq!(
        value(&host, &server, "packages").await,
        json!({
            "hrflow": [
                profile("GET", "profile/indexing"), profile("GET", "profiles/searching"),
                profile("PUT", "profile/indexing"), profile("GET", "storing/profiles"),
            ],
            "twilio": ["SM1", "queued"],
            "mailchimp": "sent",
            "selenium": "A title",
            "requests": "/echo?r",
            "urllib3": "/echo?3",
            "websocket": true,
            "jwt": { "sub": "ann" },
            "pydantic": { "name": "ann", "age": 30 },
            "jinja2": "Hi ANN",
            "bs4": "c",
            "xmltodict": { "a": { "b": "1" } },
            "dateutil": "2024-01-31T10:00:00",
            "dateutil zone": "2:00:00",
            "relativedelta": "2024-02-29",
            "pytz": "2024-07-01T12:00:00+02:00",
            "zoneinfo": "2024-07-01T12:00:00-04:00",
            "tzdata": true,
            "certifi": true,
            "charset_normalizer": "ascii",
            "idna": "xn--mnchen-3ya.de",
            "markupsafe": "&lt;a&gt;",
            "six": "a",
            "soupsieve": "d",
            "typing_extensions": "Annotated",
        })
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn every_package_of_the_newest_sdks_runtime_works() {
    let component = python::read(&python::stock_runtime("hrflow-4"));
    let (server, host) = (Server::start("server.py", &[]), Host::with(component, "").await);
    holds_what_it_pins(&host, &server, "hrflow-4").await;
    assert_eq!(
        value(&host, &server, "packages_hrflow_4").await,
        json!({
            "hrflow": [
                profile("GET", "profile/indexing"), profile("GET", "profiles/searching"),
                profile("PUT", "profile/indexing"), profile("GET", "job/indexing"),
            ],
            "hrflow schemas": "HrFlowProfile",
            "requests": "/echo?r",
            "urllib3": "/echo?3",
            "jwt": { "sub": "ann" },
            "pydantic": { "name": "ann", "age": 30 },
            "jinja2": "Hi ANN",
            "markupsafe": "&lt;a&gt;",
            "bs4": "c",
            "soupsieve": "d",
            "xmltodict": { "a": { "b": "1" } },
            "dateutil": "2024-01-31T10:00:00",
            "relativedelta": "2024-02-29",
            "dateutil zone": "2:00:00",
            "pytz": "2024-07-01T12:00:00+02:00",
            "tzdata": true,
            "openpyxl": "ann",
            "et_xmlfile": "<a>b</a>",
            "tqdm": [1, 2],
            "certifi": true,
            "charset_normalizer": "ascii",
            "idna": "xn--mnchen-3ya.de",
            "typing_extensions": "Annotated",
        })
    );
}
