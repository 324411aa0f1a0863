//! What is ready to run: linked programs and loaded sources, kept in memory while they
//! are used.

use std::hash::Hash;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, PoisonError};

use lru::LruCache;
use tokio::sync::OnceCell;

use crate::engine::{Engine, InstallError, Program, Source};
use crate::store::{Store, StoreError};
use crate::workflow::{Code, Digest};

/// Why a version cannot be made ready.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// Its bytes cannot be read.
    #[error("the version's code cannot be read")]
    Store(#[from] StoreError),
    /// Its component cannot be run.
    #[error("the version's component cannot be run")]
    Install(#[from] InstallError),
}

/// A version that is ready to run.
#[derive(Clone)]
pub struct Ready {
    /// What is instantiated.
    pub program: Arc<Program>,
    /// What is handed to it, when it is a runtime.
    pub source: Option<Arc<Source>>,
}

/// The cache. Loading the same thing twice at the same time happens once.
pub struct Programs {
    engine: Arc<Engine>,
    store: Arc<dyn Store>,
    programs: Cache<Digest, Program>,
    sources: Cache<Digest, Source>,
}

impl Programs {
    /// A cache for `max` components and as many sources.
    pub fn new(engine: Arc<Engine>, store: Arc<dyn Store>, max: NonZeroUsize) -> Self {
        Self { engine, store, programs: Cache::new(max), sources: Cache::new(max) }
    }

    /// Makes a version ready.
    ///
    /// # Errors
    /// When its blobs are missing or damaged, or its component cannot be compiled any
    /// more.
    pub async fn ready(&self, code: &Code) -> Result<Ready, LoadError> {
        let program = self.program(code.component()).await?;
        let source = match code {
            Code::Component { .. } => None,
            Code::Source { file, source, code, .. } => Some(self.source(file, *source, *code).await?),
        };
        Ok(Ready { program, source })
    }

    /// Makes a component ready.
    ///
    /// # Errors
    /// As [`Programs::ready`].
    pub async fn program(&self, digest: Digest) -> Result<Arc<Program>, LoadError> {
        let cell = self.programs.cell(digest);
        let program = cell
            .get_or_try_init(|| async {
                if let Some(program) = self.engine.load(digest).await? {
                    return Ok::<_, LoadError>(Arc::new(program));
                }
                // Only when the artefact is missing, was changed, or is another engine's.
                tracing::info!(%digest, "compiling a component again");
                Ok(Arc::new(self.engine.install_again(self.store.blob(digest).await?).await?))
            })
            .await?;
        Ok(program.clone())
    }

    /// Takes over a program that was just installed.
    pub fn keep(&self, program: Arc<Program>) {
        let cell = self.programs.cell(program.digest());
        // Whoever was faster loaded the same thing.
        let _ = cell.set(program);
    }

    async fn source(&self, file: &str, text: Digest, code: Digest) -> Result<Arc<Source>, LoadError> {
        let cell = self.sources.cell(code);
        let source = cell
            .get_or_try_init(|| async {
                let (code, text) = (self.store.blob(code).await?, self.store.blob(text).await?);
                Ok::<_, LoadError>(Arc::new(Source::new(file.to_owned(), &code, text)))
            })
            .await?;
        Ok(source.clone())
    }
}

struct Cache<K: Hash + Eq, V>(Mutex<LruCache<K, Arc<OnceCell<Arc<V>>>>>);

impl<K: Hash + Eq, V> Cache<K, V> {
    fn new(max: NonZeroUsize) -> Self {
        Self(Mutex::new(LruCache::new(max)))
    }

    fn cell(&self, key: K) -> Arc<OnceCell<Arc<V>>> {
        let mut cache = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        cache.get_or_insert(key, Arc::default).clone()
    }
}
