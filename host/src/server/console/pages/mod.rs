//! The pages, one file each.

pub(super) mod account;
pub(super) mod admin;
pub(super) mod audit;
pub(super) mod configuration;
pub(super) mod create;
pub(super) mod dead;
pub(super) mod function;
pub(super) mod history;
pub(super) mod host;
pub(super) mod monitoring;
pub(super) mod oidc;
pub(super) mod overview;
pub(super) mod run;
pub(super) mod runs;
pub(super) mod samples;
pub(super) mod schedules;
pub(super) mod settings;
pub(super) mod sign_in;
pub(super) mod templates;
pub(super) mod tokens;
pub(super) mod users;
pub(super) mod versions;
pub(super) mod workflows;
