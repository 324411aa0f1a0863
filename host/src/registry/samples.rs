//! Requests that are kept with a workflow.

use std::sync::Arc;

use super::{Entry, Registry, RegistryError};
use crate::workflow::{Kind, Sample, SampleError};

impl Registry {
    /// Keeps a request with a catch workflow; one that has its name is replaced.
    ///
    /// # Errors
    /// The workflow keeps no more, or the name is none.
    pub async fn keep_sample(&self, name: &str, sample: Sample) -> Result<Arc<Entry>, RegistryError> {
        let entry = self.find(name)?;
        let mut workflow = (*entry.workflow).clone();
        self.need_kind(&workflow, true, "a request", Kind::Catch)?;
        match workflow.samples.iter_mut().find(|own| own.name == sample.name) {
            Some(present) => *present = sample,
            None => workflow.samples.push(sample),
        }
        workflow.samples.sort_by(|a, b| a.name.cmp(&b.name));
        Sample::check(&workflow.samples).map_err(|error| RegistryError::Invalid {
            field: match error {
                SampleError::Name => "sample",
                SampleError::Count | SampleError::Bytes(_) => "samples",
            },
            reason: error.to_string(),
        })?;
        self.save(&entry, workflow, entry.version.clone()).await
    }

    /// Removes a kept request.
    ///
    /// # Errors
    /// There is none of that name.
    pub async fn remove_sample(&self, name: &str, sample: &str) -> Result<Arc<Entry>, RegistryError> {
        let entry = self.find(name)?;
        let mut workflow = (*entry.workflow).clone();
        let before = workflow.samples.len();
        workflow.samples.retain(|own| own.name != sample);
        if workflow.samples.len() == before {
            let what = format!("the request {sample:.100?} of the workflow {name}");
            return Err(RegistryError::Missing { what });
        }
        self.save(&entry, workflow, entry.version.clone()).await
    }
}
