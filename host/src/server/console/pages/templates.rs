//! What a new workflow can begin with: the blank functions, and examples of the repository.

use crate::workflow::Kind;

macro_rules! file {
    ($path:literal) => {
        include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/", $path))
    };
}

/// A beginning.
pub(super) struct Template {
    /// Its part of the URL.
    pub(super) id: &'static str,
    /// Its name.
    pub(super) title: &'static str,
    /// What it does.
    pub(super) about: &'static str,
    /// How it is started.
    pub(super) kind: Kind,
    /// Its code.
    pub(super) source: &'static str,
    /// A request to try it with, as the command line keeps it in `request.json`; empty for
    /// a pull.
    pub(super) request: &'static str,
    /// The settings that it needs, as JSON.
    pub(super) settings: &'static str,
    /// The interval that it is offered with.
    pub(super) every: &'static str,
}

/// All beginnings.
pub(super) static TEMPLATES: [Template; 6] = [
    Template {
        id: "blank-catch",
        title: "Blank catch",
        about: "Runs when an HTTP request arrives at its own URL, and answers it.",
        kind: Kind::Catch,
        source: file!("templates/python-catch/workflow.py"),
        request: file!("templates/request-catch.json"),
        settings: "{}",
        every: "",
    },
    Template {
        id: "blank-pull",
        title: "Blank pull",
        about: "Runs when it is due, by an interval or a cron expression.",
        kind: Kind::Pull,
        source: file!("templates/python-pull/workflow.py"),
        request: "",
        settings: "{}",
        every: "90m",
    },
    Template {
        id: "sms-on-profile",
        title: "Text message for a new profile",
        about: "Case study: sends a text message to HR when a profile is indexed in a source.",
        kind: Kind::Catch,
        source: file!("../examples/sms-on-profile/workflow.py"),
        request: file!("../examples/sms-on-profile/request.json"),
        settings: file!("../examples/sms-on-profile/settings.json"),
        every: "",
    },
    Template {
        id: "sync-to-ats",
        title: "Copy profiles to an ATS",
        about: "Case study: copies new profiles from HrFlow.ai to an ATS, each exactly once.",
        kind: Kind::Pull,
        source: file!("../examples/sync-to-ats/workflow.py"),
        request: "",
        settings: file!("../examples/sync-to-ats/settings.json"),
        every: "10m",
    },
    Template {
        id: "cursor",
        title: "Read a feed with a cursor",
        about: "Reads a feed page by page, and remembers in its settings how far it came.",
        kind: Kind::Pull,
        source: file!("../examples/cursor/workflow.py"),
        request: "",
        settings: file!("../examples/cursor/settings.json"),
        every: "15m",
    },
    Template {
        id: "signed-webhook",
        title: "Signed webhook",
        about: "Takes webhooks of HrFlow.ai, and refuses those whose signature is wrong.",
        kind: Kind::Catch,
        source: file!("../examples/signed-webhook/workflow.py"),
        request: file!("../examples/signed-webhook/request.json"),
        settings: file!("../examples/signed-webhook/settings.json"),
        every: "",
    },
];

impl Template {
    /// The template with this id.
    pub(super) fn find(id: &str) -> Option<&'static Self> {
        TEMPLATES.iter().find(|template| template.id == id)
    }

    /// The blank one of a kind.
    pub(super) fn blank(kind: Kind) -> &'static Self {
        let blank = TEMPLATES.iter().find(|template| template.kind == kind);
        blank.expect("there is a blank one of each kind")
    }

    /// Names of the settings that it needs.
    pub(super) fn setting_names(&self) -> Vec<String> {
        let settings: serde_json::Map<String, serde_json::Value> =
            serde_json::from_str(self.settings).unwrap_or_default();
        settings.into_iter().map(|(name, _)| name).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::TestRequest;

    #[test]
    fn every_template_can_be_tried() {
        for template in &TEMPLATES {
            assert!(template.source.contains("def workflow("), "{}", template.id);
            assert!(std::ptr::eq(Template::find(template.id).unwrap(), template));
            match template.kind {
                Kind::Catch => drop(serde_json::from_str::<TestRequest>(template.request).unwrap()),
                Kind::Pull => assert!(crate::schedule::interval::parse(template.every).is_ok()),
            }
            serde_json::from_str::<serde_json::Map<_, _>>(template.settings).unwrap();
        }
        assert_eq!(Template::find("signed-webhook").unwrap().setting_names(), ["WEBHOOK_SECRET"]);
    }
}
