//! Values for the tests of this module.

use std::sync::Arc;

use jiff::Timestamp;

use super::{AccountChange, DedupeKey, Event, EventEnd, EventInput, Tick, TickState};
use crate::account::{
    Identity, OneTimeLink, PasswordHash, Role, Scopes, Secret, SecretKind, Session, SignInMeans, Token,
    TokenId, User, UserId,
};
use crate::run::{
    Body, FORMAT, Inputs, Level, LogLine, LogSummary, ReplyRecord, RequestRecord, Run, RunId, Status, Stream,
    Trigger, Usage,
};
use crate::workflow::{
    CatchKey, Code, Digest, Endpoint, Kind, LimitOverrides, RetryPolicy, Revision, SettingChange, State,
    Workflow, WorkflowId,
};

pub(crate) fn workflow(name: &str) -> Workflow {
    let now = Timestamp::now();
    Workflow {
        id: WorkflowId::new(),
        name: name.parse().unwrap(),
        description: "says hello".to_owned(),
        kind: Kind::Catch,
        owner: None,
        managers: vec!["ada".to_owned()],
        viewers: vec!["eve".to_owned()],
        private: false,
        state: State::Active,
        catch_key: Some(CatchKey::random()),
        endpoint: Endpoint::default(),
        schedules: Vec::new(),
        limits: LimitOverrides::default(),
        signature: None,
        egress: None,
        retry: RetryPolicy::default(),
        samples: Vec::new(),
        active_version: None,
        created_at: now,
        updated_at: now,
        revision: Revision(1),
    }
}

/// Changes that make a user with a token, a session and a one-time link.
pub(crate) fn account(login: &str) -> Vec<AccountChange> {
    let now = Timestamp::now();
    let user = User {
        id: UserId::new(),
        login: login.parse().unwrap(),
        name: "Somebody".to_owned(),
        role: Role::Member,
        password: Some(PasswordHash::new("$argon2id$hash".to_owned())),
        identity: Some(Identity {
            issuer: "https://id.example".to_owned(),
            subject: "248289761001".to_owned(),
        }),
        disabled: false,
        created_at: now,
        updated_at: now,
        revision: Revision::default(),
    };
    let id = user.id;
    let token = Token {
        id: TokenId::new(),
        user: id,
        digest: Secret::random(SecretKind::Token).digest(),
        label: "laptop".to_owned(),
        scopes: Scopes::ALL,
        created_at: now,
        expires_at: Some(now),
        revoked_at: None,
        used_at: None,
    };
    let digest = Secret::random(SecretKind::Session).digest();
    let means = SignInMeans::Password;
    vec![
        AccountChange::PutUser(user),
        AccountChange::PutToken(token),
        AccountChange::PutSession(Session {
            digest,
            user: id,
            means,
            created_at: now,
            seen_at: now,
            proven_at: Some(now),
        }),
        AccountChange::PutLink(OneTimeLink { digest, user: id, expires_at: now }),
    ]
}

pub(crate) fn run(workflow: WorkflowId) -> Run {
    let now = Timestamp::now();
    Run {
        format: FORMAT,
        id: RunId::new(),
        workflow,
        workflow_name: "hello".parse().unwrap(),
        version: Some(1),
        trigger: Trigger::Catch,
        attempt: 1,
        event: None,
        status: Status::Succeeded,
        fault: None,
        accepted_at: now,
        started_at: Some(now),
        finished_at: Some(now),
        request: Some(Arc::new(RequestRecord {
            method: "POST".to_owned(),
            path_with_query: "/catch/key?a=1".to_owned(),
            headers: vec![("content-type".to_owned(), "application/json".to_owned())],
            body: Body::cut(vec![b'x'; 300].into(), 1 << 16),
        })),
        reply: Some(ReplyRecord {
            status: 200,
            headers: Vec::new(),
            body: Body::cut(vec![b'y'; 200].into(), 1 << 16),
        }),
        value: None,
        log: LogSummary { lines: 3, bytes: 60, dropped_bytes: 0 },
        exchanges: Vec::new(),
        settings_read: vec!["CURSOR".to_owned()],
        settings_changed: vec!["CURSOR".to_owned()],
        lateness_us: None,
        node: Some("here".into()),
        usage: Usage {
            memory_peak_bytes: 1 << 20,
            cpu_us: 900,
            wall_us: 1200,
            instantiate_us: 40,
            queue_us: 3,
        },
        inputs: Inputs::default(),
        trace: None,
    }
}

pub(crate) fn log(lines: usize) -> Arc<[LogLine]> {
    (0..lines)
        .map(|number| LogLine {
            at_us: number as u64,
            level: Level::Info,
            stream: Stream::Stdout,
            text: format!("line {number}\nwith a break"),
            fields: vec![("number".to_owned(), number.to_string())],
        })
        .collect()
}

pub(crate) fn tick(workflow: WorkflowId, schedule: &str, due: Timestamp) -> Tick {
    Tick {
        workflow,
        schedule: schedule.to_owned(),
        due,
        run: RunId::new(),
        claimed_at: Timestamp::now(),
        state: TickState::Claimed,
        lateness_us: 0,
        stretch: None,
    }
}

pub(crate) fn event(workflow: WorkflowId) -> Event {
    Event {
        id: RunId::new(),
        workflow,
        trigger: Trigger::Catch,
        accepted_at: Timestamp::now(),
        version: None,
        key: None,
        callback: None,
        is_direct: false,
    }
}

pub(crate) fn key(name: &str) -> Option<DedupeKey> {
    Some(DedupeKey { name: name.to_owned(), print: "p".to_owned() })
}

pub(crate) fn input(body: &str) -> EventInput {
    EventInput::Request(RequestRecord {
        method: "POST".to_owned(),
        path_with_query: "/".to_owned(),
        headers: vec![("content-type".to_owned(), "text/plain".to_owned())],
        body: Body::cut(body.as_bytes().to_vec().into(), usize::MAX),
    })
}

pub(crate) fn end(status: Status, is_dead: bool) -> EventEnd {
    EventEnd { status, fault: None, at: Timestamp::now(), is_dead }
}

pub(crate) fn component(component: Digest) -> Code {
    Code::Component { component, component_bytes: 3 }
}

pub(crate) fn set(name: &str, json: &str) -> SettingChange {
    let value = serde_json::value::RawValue::from_string(json.to_owned()).unwrap();
    SettingChange::new(name.to_owned(), Some(value))
}

pub(crate) fn unset(name: &str) -> SettingChange {
    SettingChange::new(name.to_owned(), None::<crate::workflow::Secret>)
}
