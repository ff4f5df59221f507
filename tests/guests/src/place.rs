//! Where guests are compiled and run: in this process, and in children of `enid` as on a node.

use std::sync::Arc;

use anyhow::Context as _;
use enid_core::snapshot::Setting;
use enid_policy_wasm::admission::{Examined, Offer, Terms, examine};
use enid_policy_wasm::compile::Compiler;
use enid_policy_wasm::runtime::{Guest, InProcess, Isolated, Runtime};
use enid_policy_wasm::{Engine, Inadmissible, Kind, Limits, Place, Trust};

use crate::build::enid;

/// A place with everything that it takes to let components in.
#[derive(Debug)]
pub struct Site {
    /// Which one it is.
    pub place: Place,
    /// Makes machine code, in the place or in a child of its own.
    pub compiler: Compiler,
    /// Runs it.
    pub runtime: Arc<dyn Runtime>,
    /// The handle on the child, when there is one.
    pub child: Option<Isolated>,
}

impl Site {
    /// This process.
    pub fn in_process() -> anyhow::Result<Self> {
        Ok(Self {
            place: Place::InProcess,
            compiler: Compiler::here(Engine::new()?),
            runtime: Arc::new(InProcess::start()?),
            child: None,
        })
    }

    /// Children of `enid`, without a cache.
    pub fn process() -> anyhow::Result<Self> {
        let program = enid()?;
        let child = Isolated::new(program.clone());
        Ok(Self {
            place: Place::Process,
            compiler: Compiler::child(program, None)?,
            runtime: Arc::new(child.clone()),
            child: Some(child),
        })
    }

    /// Both.
    pub fn both() -> anyhow::Result<[Self; 2]> {
        Ok([Self::in_process()?, Self::process()?])
    }

    /// Takes a component through admission.
    pub fn examine(&self, wanted: Kind, bytes: &[u8], limits: &Limits) -> Result<Examined, Inadmissible> {
        self.examine_with(wanted, bytes, limits, &[])
    }

    /// Takes a component through admission with settings.
    pub fn examine_with(
        &self,
        wanted: Kind,
        bytes: &[u8],
        limits: &Limits,
        settings: &[Setting],
    ) -> Result<Examined, Inadmissible> {
        let trust = Trust::default();
        let terms =
            Terms { wanted: Some(wanted), pinned: None, trust: &trust, settings, limits, recorded: &[] };
        examine(&Offer::unsigned(bytes.to_vec()), &terms, &self.compiler, &*self.runtime)
    }

    /// Compiles and loads a component without asking what it is worth.
    pub fn load(&self, bytes: &[u8], limits: &Limits) -> anyhow::Result<Arc<dyn Guest>> {
        let digest = enid_component_store::Digest::of(bytes);
        let artifact = self.compiler.compile(&digest.hex(), bytes)?;
        self.runtime.load(&artifact, limits).context("load the component")
    }
}
