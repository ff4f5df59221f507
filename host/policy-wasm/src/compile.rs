//! Compiling components: in a child with limits, remembered in a cache that nobody else can write.

mod child;

use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use crate::artifact::Artifact;
use crate::cache::Cache;
use crate::engine::{self, Engine, EngineError};

pub use child::compile_component;

/// The program's argument that makes it a child that compiles one component.
pub const ROLE: &str = "strategy-compile";

/// Why a component cannot be compiled.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CompileError {
    /// Damaged, or using features that are switched off.
    #[error("it is not valid: {why}")]
    Invalid {
        /// The validator's reason.
        why: String,
    },
    /// It takes more than the compiler may have.
    #[error("compiling it takes more than {limit}")]
    TooCostly {
        /// The limit that was reached, with its unit.
        limit: String,
    },
    /// The compiler could not be run.
    #[error("the compiler could not be run: {why}")]
    NoCompiler {
        /// What failed.
        why: String,
    },
}

/// Makes machine code of components.
#[derive(Clone)]
pub struct Compiler {
    how: How,
}

#[derive(Clone)]
enum How {
    /// On the calling thread: for tools and tests, whose components are the caller's own.
    Here(Engine),
    /// In a child, one at a time: two would need twice the memory on a node that has little.
    Child(Arc<Outside>),
}

/// What compiling in a child takes.
struct Outside {
    program: PathBuf,
    cache: Option<Cache>,
    /// What compiled code depends on besides the component.
    fingerprint: String,
    turn: Mutex<()>,
}

impl Compiler {
    /// Compiles on the calling thread.
    pub fn here(engine: Engine) -> Self {
        Self { how: How::Here(engine) }
    }

    /// Compiles in children that are started as `program strategy-compile`, which must call
    /// [`compile_component`] first thing; what they made is taken from the cache when it is there.
    pub fn child(program: PathBuf, cache: Option<Cache>) -> Result<Self, EngineError> {
        let fingerprint = engine::fingerprint()?;
        let outside = Outside { program, cache, fingerprint, turn: Mutex::new(()) };
        Ok(Self { how: How::Child(Arc::new(outside)) })
    }

    /// Compiles the component with this digest, or takes it from the cache.
    pub fn compile(&self, digest: &str, component: &[u8]) -> Result<Artifact, CompileError> {
        match &self.how {
            How::Here(engine) => {
                let code = engine.compile(component).map_err(|why| CompileError::Invalid { why })?;
                let stored = Artifact::new(digest, &code);
                stored.map_err(|error| CompileError::NoCompiler { why: error.to_string() })
            }
            How::Child(outside) => outside.compile(digest, component),
        }
    }
}

impl fmt::Debug for Compiler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.how {
            How::Here(_) => "Compiler::here",
            How::Child(_) => "Compiler::child",
        })
    }
}

impl Outside {
    fn compile(&self, digest: &str, component: &[u8]) -> Result<Artifact, CompileError> {
        if let Some(artifact) = self.cached(digest) {
            return Ok(artifact);
        }
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        // Whoever had the turn before may have compiled the same.
        if let Some(artifact) = self.cached(digest) {
            return Ok(artifact);
        }
        let artifact = child::compile(&self.program, digest, component)?;
        if let Some(cache) = &self.cache
            && let Err(error) = cache.store(&artifact, &self.fingerprint)
        {
            tracing::warn!(digest, %error, "compiled component is not remembered");
        }
        Ok(artifact)
    }

    fn cached(&self, digest: &str) -> Option<Artifact> {
        self.cache.as_ref()?.load(digest, &self.fingerprint)
    }
}
