//! `tidegate new`: a project folder to start from.

use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::json;

use super::error::{Explain, Failure, Result};
use super::project::Lang;
use super::{Context, Format};
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
];
const PYTHON_PULL: &[Template] = &[
    ("workflow.toml", include_str!("../../templates/python-pull/workflow.toml")),
    ("workflow.py", include_str!("../../templates/python-pull/workflow.py")),
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

/// Makes the folder.
pub(crate) fn run(args: &NewArgs, context: &mut Context) -> Result<()> {
    let folder = args.within.join(args.name.as_str());
    let files = files(args.kind, args.lang);
    write(&folder, &args.name, &files)?;
    let names: Vec<&str> = files.iter().map(|(name, _)| *name).collect();
    if args.format.json {
        return context.out.json(&json!({"name": args.name, "folder": folder, "files": names}));
    }
    let shown = folder.display();
    context.out.note(format!("made {shown} with {}", names.join(", ")));
    let request =
        if args.kind == Kind::Catch { format!(" --request {shown}/request.json") } else { String::new() };
    context.out.hint(format!("`tidegate run {shown}{request}` tries it here"));
    context.out.hint(format!("`tidegate deploy {shown}` puts it on a host"));
    Ok(())
}

fn files(kind: Kind, lang: Lang) -> Vec<Template> {
    let by_lang = match (lang, kind) {
        (Lang::Python, Kind::Catch) => vec![PYTHON_CATCH],
        (Lang::Python, Kind::Pull) => vec![PYTHON_PULL],
        (Lang::Rust, Kind::Catch) => vec![RUST_CATCH, RUST],
        (Lang::Rust, Kind::Pull) => vec![RUST_PULL, RUST],
    };
    let by_kind = if kind == Kind::Catch { CATCH } else { PULL };
    by_lang.into_iter().chain([by_kind]).flatten().copied().collect()
}

/// Writes the files into a folder that is new or empty.
fn write(folder: &Path, name: &WorkflowName, files: &[Template]) -> Result<()> {
    let doing = || format!("make {}", folder.display());
    if folder.exists() {
        let mut entries = std::fs::read_dir(folder).context(doing())?;
        if entries.next().is_some() {
            return Err(Failure::new(format!("{} exists and is not empty", folder.display()))
                .hint("choose another name, or empty it"));
        }
    }
    for (file, text) in files {
        let path = folder.join(file);
        std::fs::create_dir_all(path.parent().unwrap_or(folder)).context(doing())?;
        std::fs::write(&path, text.replace("{{name}}", name.as_str())).context(doing())?;
    }
    Ok(())
}
