//! `tidegate share`.

use clap::Args;
use serde_json::json;

use super::error::Result;
use super::output::clean;
use super::page::Fields;
use super::{Context, Format};
use crate::account::Login;
use crate::api::{PatchWorkflow, WorkflowView};
use crate::workflow::WorkflowName;

/// Say who may do what with a workflow; without flags, show it
///
/// Viewers see its runs, logs and code. Managers also run, deploy and change it. The owner
/// also shares and archives it. All users see that it exists, unless it is private.
#[derive(Debug, Args)]
pub(crate) struct ShareArgs {
    /// The workflow
    name: WorkflowName,
    /// Make this user a manager; may be repeated
    #[arg(long = "manager", value_name = "LOGIN")]
    managers: Vec<Login>,
    /// Make this user a viewer; may be repeated
    #[arg(long = "viewer", value_name = "LOGIN")]
    viewers: Vec<Login>,
    /// Let this user be neither manager nor viewer any more; may be repeated
    #[arg(long = "remove", value_name = "LOGIN")]
    removed: Vec<Login>,
    /// Give it to this user
    #[arg(long, value_name = "LOGIN")]
    owner: Option<Login>,
    /// Hide it from everybody but owner, managers, viewers and admins
    #[arg(long, conflicts_with = "public")]
    private: bool,
    /// Let all users see that it exists
    #[arg(long)]
    public: bool,
    #[command(flatten)]
    format: Format,
}

/// Shares a workflow.
pub(crate) fn run(args: &ShareArgs, context: &mut Context) -> Result<()> {
    let client = context.client()?;
    let path = format!("/api/v1/workflows/{}", args.name);
    let view: WorkflowView = client.get(&path)?;
    let patch = patch(args, &view);
    let view = match patch.shares() {
        true => client.patch(&path, &patch)?,
        false => view,
    };
    if args.format.json {
        return context.out.json(&json!({
            "name": view.name, "owner": view.owner, "managers": view.managers, "viewers": view.viewers,
            "private": view.private,
        }));
    }
    let out = &mut context.out;
    let list = |logins: &[String]| match logins {
        [] => "nobody".to_owned(),
        logins => clean(&logins.join(", ")),
    };
    let mut fields = Fields::default();
    fields.maybe("owner", view.owner.as_deref().map(clean));
    fields.add("managers", list(&view.managers));
    fields.add("viewers", list(&view.viewers));
    let others = if view.private { "do not see it: it is private" } else { "see that it exists" };
    fields.add("others", others);
    fields.print(out)
}

fn patch(args: &ShareArgs, view: &WorkflowView) -> PatchWorkflow {
    let changed = |present: &[String], added: &[Login], elsewhere: &[Login]| {
        let is_in = |list: &[Login], login: &str| list.iter().any(|one| one.as_str() == login);
        let stays = |login: &&String| !is_in(&args.removed, login) && !is_in(elsewhere, login);
        let mut logins: Vec<String> = present.iter().filter(stays).cloned().collect();
        for login in added {
            if !logins.iter().any(|present| present == login.as_str()) {
                logins.push(login.to_string());
            }
        }
        (logins != present).then_some(logins)
    };
    PatchWorkflow {
        owner: args.owner.as_ref().map(ToString::to_string),
        // One is a manager or a viewer, as it was said last.
        managers: changed(&view.managers, &args.managers, &args.viewers),
        viewers: changed(&view.viewers, &args.viewers, &args.managers),
        private: args.private.then_some(true).or(args.public.then_some(false)),
        ..PatchWorkflow::default()
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;
    use serde_json::Value;

    use super::*;

    #[derive(clap::Parser)]
    struct Only {
        #[command(flatten)]
        args: ShareArgs,
    }

    #[test]
    fn who_is_named_moves_and_the_others_stay() {
        let view: Value = json!({
            "name": "w", "id": "06g1p3s8000000000000000000", "kind": "catch", "description": "", "owner": "ada",
            "managers": ["bob"], "viewers": ["eve"], "private": false, "state": "active", "url": null,
            "schedules": [], "endpoint": {}, "limits": {}, "active_version": null,
            "created_at": "2025-06-01T12:00:00Z", "updated_at": "2025-06-01T12:00:00Z", "revision": 1,
        });
        let view: WorkflowView = serde_json::from_value(view).unwrap();
        let of = |flags: &[&str]| {
            let only = Only::parse_from(["share", "w"].iter().chain(flags));
            let patch = serde_json::to_value(patch(&only.args, &view)).unwrap();
            let mut patch = patch.as_object().unwrap().clone();
            patch.remove("rotate_url");
            Value::Object(patch)
        };
        assert_eq!(of(&[]), json!({}));
        assert_eq!(of(&["--manager", "bob", "--viewer", "eve"]), json!({}));
        assert_eq!(of(&["--manager", "eve"]), json!({ "managers": ["bob", "eve"], "viewers": [] }));
        assert_eq!(
            of(&["--remove", "bob", "--viewer", "kim"]),
            json!({ "managers": [], "viewers": ["eve", "kim"] })
        );
        assert_eq!(of(&["--owner", "bob", "--private"]), json!({ "owner": "bob", "private": true }));
        assert_eq!(of(&["--public"]), json!({ "private": false }));
    }
}
