//! `tidegate new`: a project folder to start from.

use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::json;

use super::error::{Explain, Failure, Result};
use super::project::Lang;
use super::{Context, Format, sdk};
use crate::workflow::{Kind, WorkflowName};

/// Make a project folder: workflow.toml, code, a sample request, a README
#[derive(Debug, Args)]
pub(crate) struct NewArgs {
    /// The workflow's name, and the folder's
    name: WorkflowName,
    /// Started by requests (catch) or by the clock (pull)
    #[arg(long)]
    kind: Kind,
    /// What it is written in
    #[arg(long, default_value = "python")]
    lang: Lang,
    /// Where to make the folder; left out, here
    #[arg(long, value_name = "DIR", default_value = ".")]
    within: PathBuf,
    #[command(flatten)]
    format: Format,
}

/// A file of a project and its text.
type Template = (&'static str, &'static str);

const PYTHON_CATCH: &[Template] = &[
    ("workflow.toml", include_str!("../../templates/python-catch/workflow.toml")),
    ("workflow.py", include_str!("../../templates/python-catch/workflow.py")),
    ("test_workflow.py", include_str!("../../templates/python-catch/test_workflow.py")),
];
const PYTHON_PULL: &[Template] = &[
    ("workflow.toml", include_str!("../../templates/python-pull/workflow.toml")),
    ("workflow.py", include_str!("../../templates/python-pull/workflow.py")),
    ("test_workflow.py", include_str!("../../templates/python-pull/test_workflow.py")),
];
const PYTHON: &[Template] = &[
    ("pyproject.toml", include_str!("../../templates/python-pyproject.toml")),
    (".gitignore", include_str!("../../templates/python-gitignore")),
];
/// How it is tested without a host.
const PYTHON_README: &str = include_str!("../../templates/python-README.md");
/// The modules of the SDK that the test kit needs; the others need the sandbox.
const PYTHON_KIT: &[&str] = &[
    "__init__.py",
    "body.py",
    "jsontext.py",
    "multipart.py",
    "outcome.py",
    "program.py",
    "request.py",
    "settings.py",
    "text.py",
];
const RUST: &[Template] = &[
    ("Cargo.toml", include_str!("../../templates/rust-Cargo.toml")),
    (".gitignore", include_str!("../../templates/gitignore")),
];
const RUST_CATCH: &[Template] = &[
    ("workflow.toml", include_str!("../../templates/rust-catch/workflow.toml")),
    ("src/lib.rs", include_str!("../../templates/rust-catch/lib.rs")),
];
const RUST_PULL: &[Template] = &[
    ("workflow.toml", include_str!("../../templates/rust-pull/workflow.toml")),
    ("src/lib.rs", include_str!("../../templates/rust-pull/lib.rs")),
];
const CATCH: &[Template] = &[
    ("request.json", include_str!("../../templates/request-catch.json")),
    ("settings.json", include_str!("../../templates/settings-catch.json")),
    ("README.md", include_str!("../../templates/README-catch.md")),
];
const PULL: &[Template] = &[
    ("request.json", include_str!("../../templates/request-pull.json")),
    ("settings.json", include_str!("../../templates/settings-pull.json")),
    ("README.md", include_str!("../../templates/README-pull.md")),
];

/// The SDK's own manifest belongs to this repository's workspace.
const RUST_SDK: &str = include_str!("../../templates/rust-sdk-Cargo.toml");

/// Makes the folder.
pub(crate) fn run(args: &NewArgs, context: &mut Context) -> Result<()> {
    let folder = if args.within == Path::new(".") {
        PathBuf::from(args.name.as_str())
    } else {
        args.within.join(args.name.as_str())
    };
    let files = files(&args.name, args.kind, args.lang);
    write(&folder, &files)?;
    if args.format.json {
        let names: Vec<&str> = files.iter().map(|(name, _)| name.as_str()).collect();
        return context.out.json(&json!({"name": args.name, "folder": folder, "files": names}));
    }
    let shown = folder.display();
    let own = files.iter().map(|(name, _)| name.as_str()).filter(|name| !name.starts_with("vendor/"));
    let own: Vec<&str> = own.collect();
    let (first, rest) = own.split_at(own.len().min(3));
    context.out.note(format!("made {shown} with {} and {} more files", first.join(", "), rest.len()));
    let request =
        if args.kind == Kind::Catch { format!(" --request {shown}/request.json") } else { String::new() };
    context.out.hint(format!("`tidegate run {shown}{request}` tries it here"));
    if args.lang == Lang::Python {
        context.out.hint(format!("`pytest {shown}` tests it on this machine's own Python"));
    }
    context.out.hint(format!("`tidegate deploy {shown}` puts it on a host"));
    Ok(())
}

/// The files of a new project.
pub(crate) fn files(name: &WorkflowName, kind: Kind, lang: Lang) -> Vec<(String, Vec<u8>)> {
    let by_lang = match (lang, kind) {
        (Lang::Python, Kind::Catch) => vec![PYTHON_CATCH, PYTHON],
        (Lang::Python, Kind::Pull) => vec![PYTHON_PULL, PYTHON],
        (Lang::Rust, Kind::Catch) => vec![RUST_CATCH, RUST],
        (Lang::Rust, Kind::Pull) => vec![RUST_PULL, RUST],
    };
    let by_kind = if kind == Kind::Catch { CATCH } else { PULL };
    let templates = by_lang.into_iter().chain([by_kind]).flatten();
    let filled = |text: &str| {
        text.replace("{{name}}", name.as_str()).replace("{{dependencies}}", &dependencies()).into_bytes()
    };
    let mut files: Vec<_> = templates.map(|(file, text)| ((*file).to_owned(), filled(text))).collect();
    if lang == Lang::Python {
        for (_, text) in files.iter_mut().filter(|(file, _)| file == "README.md") {
            text.extend_from_slice(PYTHON_README.as_bytes());
        }
        let kit =
            sdk::below("guest-sdk/python/tidegate").map(|(file, bytes)| (format!("tidegate/{file}"), bytes));
        let needed = sdk::below("guest-sdk/python/tidegate_runtime")
            .filter(|(file, _)| PYTHON_KIT.contains(file))
            .map(|(file, bytes)| (format!("tidegate_runtime/{file}"), bytes));
        let vendored = kit.chain(needed);
        files.extend(
            vendored.map(|(file, bytes)| (format!("vendor/guest-sdk/python/{file}"), bytes.to_vec())),
        );
    }
    if lang == Lang::Rust {
        let manifest = RUST_SDK.replace("{{version}}", env!("CARGO_PKG_VERSION"));
        files.push(("vendor/guest-sdk/rust/Cargo.toml".to_owned(), manifest.into_bytes()));
        for folder in ["guest-sdk/rust/src", "wit"] {
            let below = sdk::below(folder);
            files.extend(below.map(|(file, bytes)| (format!("vendor/{folder}/{file}"), bytes.to_vec())));
        }
    }
    files
}

/// The packages of the default runtime, as a list in TOML has them, line by line.
fn dependencies() -> String {
    let wanted = sdk::below("runtimes/python").find(|(file, _)| *file == "requirements.in");
    let text = wanted.map(|(_, bytes)| String::from_utf8_lossy(bytes)).unwrap_or_default();
    let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.map(|line| format!("    \"{line}\",\n")).collect()
}

/// Writes the files into a folder that is new or empty.
fn write(folder: &Path, files: &[(String, Vec<u8>)]) -> Result<()> {
    let doing = || format!("make {}", folder.display());
    if folder.exists() {
        let mut entries = std::fs::read_dir(folder).context(doing())?;
        if entries.next().is_some() {
            return Err(Failure::new(format!("{} exists and is not empty", folder.display()))
                .hint("choose another name, or empty it"));
        }
    }
    for (file, bytes) in files {
        let path = folder.join(file);
        std::fs::create_dir_all(path.parent().unwrap_or(folder)).context(doing())?;
        std::fs::write(&path, bytes).context(doing())?;
    }
    Ok(())
}
