//! What is tested: a component, a question for it, and places to run it in.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context as _;
use enid_core::document::{Answer, Snapshot};
use enid_core::limits::Mode;
use enid_core::snapshot::{Context, MaxPodsSnapshot};
use enid_policy_wasm::artifact::Artifact;
use enid_policy_wasm::compile::Compiler;
use enid_policy_wasm::runtime::{Called, Guest, Isolated, Runtime};
use enid_policy_wasm::{Engine, Limits};

/// The default limits, but so much time that a busy machine makes no difference.
pub(crate) fn limits() -> Limits {
    Limits { deadline: Limits::most().deadline, ..Limits::default() }
}

/// This program.
pub(crate) fn program() -> anyhow::Result<PathBuf> {
    std::env::current_exe().context("find this program")
}

/// A component that answers 7, after `body`.
pub(crate) fn component(body: &str) -> anyhow::Result<Vec<u8>> {
    Ok(wat::parse_str(include_str!("guest.wat").replace("{{body}}", body))?)
}

/// The same, compiled here.
pub(crate) fn artifact(body: &str) -> anyhow::Result<Artifact> {
    Ok(Compiler::here(Engine::new()?).compile(&"0".repeat(64), &component(body)?)?)
}

/// A component that answers 7, loaded into a child.
pub(crate) fn loaded(place: &Isolated) -> anyhow::Result<Arc<dyn Guest>> {
    Ok(place.load(&artifact("")?, &limits())?)
}

/// A child that has loaded a component that answers 7.
pub(crate) fn child() -> anyhow::Result<(Isolated, Arc<dyn Guest>, u32)> {
    let place = Isolated::new(program()?);
    let guest = loaded(&place)?;
    let process = place.process().context("there is no child")?;
    Ok((place, guest, process))
}

/// A question.
pub(crate) fn question() -> Snapshot {
    Snapshot::MaxPods(MaxPodsSnapshot {
        context: Context::default(),
        mode: Mode::SecondaryIp,
        instance_type: "m5.large".into(),
        max_enis: 3,
        ipv4_per_eni: 10,
        prefixes: true,
        vcpus: 2,
        memory_mib: 8192,
        custom_networking: false,
        reserved_enis: 0,
        uncapped: false,
    })
}

/// The number of pods that it answered.
pub(crate) fn pods(called: &Called<Answer>) -> anyhow::Result<u32> {
    match &called.result {
        Ok(Answer::MaxPods(proposal)) => Ok(proposal.target),
        other => anyhow::bail!("{other:?}"),
    }
}

/// How a call failed.
pub(crate) fn fault(called: &Called<Answer>) -> &'static str {
    called.result.as_ref().err().map_or("an answer", |fault| fault.label())
}
