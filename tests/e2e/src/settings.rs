//! A node's `enid.toml`, as far as tests vary it.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use enid_component_store::Digest;

/// What the lab's clients find EC2 and metadata at.
const EC2: &str = "http://10.0.0.2";
const IMDS: &str = "http://169.254.169.254";
/// A port of the lab's EC2 address at which nothing listens: the kernel refuses at once.
const NOBODY: &str = "http://10.0.0.2:9";

/// The settings of one node. Cooling and waiting are short, so that tests see what follows.
#[derive(Clone, Debug)]
pub struct Settings {
    runtime_dir: PathBuf,
    ec2: String,
    imds: String,
    cooldown_secs: u64,
    wait_secs: u64,
    warm_pool: Choice,
    pool: String,
    network: String,
    further: String,
    max_pods: Option<u32>,
}

/// A strategy with its settings.
#[derive(Clone, Debug)]
struct Choice {
    component: String,
    digest: Option<String>,
    settings: String,
}

impl Settings {
    /// The usual settings with the runtime directory at `runtime_dir`.
    pub fn usual(runtime_dir: &Path) -> Self {
        Self {
            runtime_dir: runtime_dir.to_owned(),
            ec2: EC2.to_owned(),
            imds: IMDS.to_owned(),
            cooldown_secs: 30,
            wait_secs: 30,
            warm_pool: Choice {
                component: "warm-targets".to_owned(),
                digest: None,
                settings: "warm_eni_target = 1".to_owned(),
            },
            pool: String::new(),
            network: String::new(),
            further: String::new(),
            max_pods: None,
        }
    }

    /// With another runtime directory.
    pub fn runtime_dir(self, runtime_dir: &Path) -> Self {
        Self { runtime_dir: runtime_dir.to_owned(), ..self }
    }

    /// With an EC2 endpoint at which nobody answers.
    pub fn without_ec2(self) -> Self {
        Self { ec2: NOBODY.to_owned(), ..self }
    }

    /// With a metadata endpoint at which nobody answers.
    pub fn without_imds(self) -> Self {
        Self { imds: NOBODY.to_owned(), ..self }
    }

    /// How long a released address cools.
    pub fn cooldown_secs(self, cooldown_secs: u64) -> Self {
        Self { cooldown_secs, ..self }
    }

    /// How long an ADD waits for supply.
    pub fn wait_secs(self, wait_secs: u64) -> Self {
        Self { wait_secs, ..self }
    }

    /// Pods that the node may carry.
    pub fn max_pods(self, max_pods: u32) -> Self {
        Self { max_pods: Some(max_pods), ..self }
    }

    /// With lines for `[pool]`.
    pub fn pool(self, lines: &str) -> Self {
        Self { pool: lines.to_owned(), ..self }
    }

    /// With lines for `[network]`.
    pub fn network(self, lines: &str) -> Self {
        Self { network: lines.to_owned(), ..self }
    }

    /// The warm-pool strategy, by a shipped name or as a file that is not pinned, and its settings as they stand
    /// between the braces.
    pub fn warm_pool(self, component: &str, settings: &str) -> Self {
        let (component, settings) = (component.to_owned(), settings.to_owned());
        Self { warm_pool: Choice { component, digest: None, settings }, ..self }
    }

    /// The same for a component file, pinned to what it holds now.
    pub fn warm_pool_file(self, file: &Path, settings: &str) -> Self {
        let digest = Digest::of(&fs::read(file).unwrap()).to_string();
        self.warm_pool(file.to_str().unwrap(), settings).pinned(&digest)
    }

    /// With a digest for the warm-pool strategy.
    pub fn pinned(mut self, digest: &str) -> Self {
        self.warm_pool.digest = Some(digest.to_owned());
        self
    }

    /// With further tables after everything else; they begin in `[strategy.warm-pool]`.
    pub fn and(self, further: &str) -> Self {
        Self { further: further.to_owned(), ..self }
    }
}

impl fmt::Display for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            runtime_dir,
            ec2,
            imds,
            cooldown_secs,
            wait_secs,
            warm_pool: Choice { component, digest, settings },
            pool,
            network,
            further,
            max_pods,
        } = self;
        writeln!(f, "[node]\nruntime_dir = {runtime_dir:?}")?;
        if let Some(max_pods) = max_pods {
            writeln!(f, "max_pods = {max_pods}")?;
        }
        writeln!(f, "[cloud]\nregion = \"eu-lab-1\"\nec2_endpoint = {ec2:?}\nimds_endpoint = {imds:?}")?;
        writeln!(f, "timeout_secs = 3\n[budget]\nnodes = 1")?;
        writeln!(f, "[pool]\ncooldown_secs = {cooldown_secs}\nwait_secs = {wait_secs}")?;
        if !pool.is_empty() {
            writeln!(f, "{pool}")?;
        }
        if !network.is_empty() {
            writeln!(f, "[network]\n{network}")?;
        }
        let compiled = runtime_dir.with_file_name("compiled");
        writeln!(
            f,
            "[engine]\ncache_dir = {compiled:?}\nstore_dir = {:?}",
            compiled.with_file_name("store")
        )?;
        writeln!(f, "[strategy.warm-pool]\nuse = {component:?}")?;
        if let Some(digest) = digest {
            writeln!(f, "digest = {digest:?}")?;
        }
        writeln!(f, "settings = {{ {settings} }}\n{further}")
    }
}
