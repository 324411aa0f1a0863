//! A component that is ready to be instantiated.

use std::sync::Arc;

use wasmtime::component::{Component, Linker};

use super::bindings::runtime::RuntimePre;
use super::bindings::workflow::WorkflowPre;
use super::scan::World;
use super::slots::{Image, Occupant, instantiating};
use super::state::State;
use crate::workflow::Digest;

/// A component that is ready to be instantiated: compiled, linked, its memory image
/// mapped.
pub struct Program {
    digest: Digest,
    pub(super) form: Form,
    /// What its memory shows at first, if its slots are reset in place.
    image: Option<Arc<Image>>,
}

pub(super) enum Form {
    Workflow(WorkflowPre<State>),
    Runtime(RuntimePre<State>),
}

impl Program {
    /// Links a component.
    ///
    /// # Errors
    /// The name of the import or export that does not have the type that `wit/` says.
    pub(super) fn link(
        digest: Digest,
        world: World,
        component: &Component,
        linker: &Linker<State>,
        image: Option<Image>,
    ) -> Result<Self, String> {
        let say = |error: wasmtime::Error| format!("{error:#}");
        let pre = linker.instantiate_pre(component).map_err(say)?;
        let form = match world {
            World::Workflow => Form::Workflow(WorkflowPre::new(pre).map_err(say)?),
            World::Runtime => Form::Runtime(RuntimePre::new(pre).map_err(say)?),
        };
        Ok(Self { digest, form, image: image.map(Arc::new) })
    }

    /// The world that a compiled component was built for, by its exports.
    pub(super) fn world_of(component: &Component) -> World {
        match component.get_export_index(None, "workflow") {
            Some(_) => World::Workflow,
            None => World::Runtime,
        }
    }

    /// Whether its memory is reset in place after a run; otherwise it is the plain pool's.
    pub fn is_reset_in_place(&self) -> bool {
        self.image.is_some()
    }

    /// Drives an instantiation of it, for `occupant` where programs share it.
    pub(super) async fn instantiate<F: Future>(&self, occupant: Occupant, instantiation: F) -> F::Output {
        match &self.image {
            Some(image) => instantiating(image.clone(), occupant, instantiation).await,
            None => instantiation.await,
        }
    }

    /// The component's digest.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// The world that it was built for.
    pub fn world(&self) -> World {
        match self.form {
            Form::Workflow(_) => World::Workflow,
            Form::Runtime(_) => World::Runtime,
        }
    }
}
