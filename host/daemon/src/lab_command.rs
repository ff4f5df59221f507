//! `enid lab up|status|exec|down`: a VPC on this machine, kept running by hand.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use clap::{Args, Subcommand, ValueEnum};
use enid_core::instance_types;
use enid_vpc_lab::fabric::{CORPORATE, OUTSIDE};
use enid_vpc_lab::lab::landscape::Landscape;
use enid_vpc_lab::lab::status::{EniStatus, NodeStatus, Status};
use enid_vpc_lab::lab::{DEFAULT_DIRECTORY, Lab, LabError};
use enid_vpc_lab::namespace::NetNs;
use enid_vpc_lab::requirements;
use ipnet::{IpNet, Ipv4Net};
use rustix::process::{Signal, set_parent_process_death_signal};

/// What to do with a lab.
#[derive(Debug, Subcommand)]
pub(crate) enum LabCommand {
    /// Build the VPC and leave it running
    Up {
        #[command(flatten)]
        which: Which,
        #[command(flatten)]
        world: World,
    },
    /// Show subnets, nodes, ENIs, drops and calls
    Status {
        #[command(flatten)]
        which: Which,
        /// How to print it
        #[arg(long, value_enum, default_value_t)]
        output: Output,
    },
    /// Run a command on a node, with AWS clients pointed at the lab
    Exec {
        #[command(flatten)]
        which: Which,
        /// The node's name
        node: String,
        /// The command and its arguments, after `--`
        #[arg(last = true, required = true)]
        command: Vec<OsString>,
    },
    /// Take it away, also what a crash left
    Down(Which),
    /// The lab's process
    #[command(hide = true)]
    Serve {
        #[command(flatten)]
        which: Which,
        /// End when whoever started it ends
        #[arg(long)]
        with_parent: bool,
    },
    /// Run a command in a named network namespace and end with whoever started it
    #[command(hide = true)]
    Enter {
        /// The namespace's name
        namespace: String,
        /// The command and its arguments, after `--`
        #[arg(last = true, required = true)]
        command: Vec<OsString>,
    },
}

/// Which lab.
#[derive(Clone, Debug, Args)]
pub(crate) struct Which {
    /// The lab's name; its namespaces start with it
    #[arg(long, default_value = "enid-lab")]
    name: String,
    /// Where labs keep their files
    #[arg(long, default_value = DEFAULT_DIRECTORY)]
    directory: PathBuf,
}

/// The world in a lab.
#[derive(Clone, Debug, Args)]
pub(crate) struct World {
    /// Subnets and nodes
    #[arg(long, value_enum, default_value_t)]
    size: Size,
    /// Give the VPC, its subnets and every ENI IPv6 as well; pods get it once `ip_family` in a node's settings says so
    #[arg(long)]
    ipv6: bool,
    /// Instance types of the nodes, in order, with commas between them; the last one holds for the nodes that are left
    #[arg(long = "instance-type", value_name = "TYPE", value_delimiter = ',', value_parser = known_type)]
    instance_types: Vec<String>,
    /// One more range of the VPC, such as 100.64.0.0/16, with a subnet per zone at its beginning
    #[arg(long, value_name = "CIDR", value_parser = secondary_range)]
    range: Option<Ipv4Net>,
    /// Add an instance that is not of the cluster, in a subnet of its own
    #[arg(long)]
    neighbour: bool,
}

impl World {
    fn landscape(&self) -> Landscape {
        let mut landscape = self.size.landscape().with_instance_types(&self.instance_types);
        if let Some(range) = self.range {
            landscape = landscape.with_range_in_every_zone(range);
        }
        if self.neighbour {
            landscape = landscape.with_neighbour();
        }
        if self.ipv6 { landscape.with_ipv6() } else { landscape }
    }
}

/// Subnets and nodes of a lab.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Size {
    /// Two zones, three subnets, an m5.large and a t3.small
    #[default]
    Standard,
    /// One m5.24xlarge with room for 735 pods
    Large,
}

impl Size {
    fn landscape(self) -> Landscape {
        match self {
            Size::Standard => Landscape::standard(),
            Size::Large => Landscape::large(),
        }
    }
}

fn known_type(name: &str) -> Result<String, String> {
    if instance_types::lookup(name).is_some() {
        return Ok(name.to_owned());
    }
    let close = instance_types::closest(name);
    let advice =
        if close.is_empty() { String::new() } else { format!("; did you mean {}?", close.join(", ")) };
    Err(format!("no instance type of that name is known{advice}"))
}

fn secondary_range(text: &str) -> Result<Ipv4Net, String> {
    let range: Ipv4Net = text.parse().map_err(|_| "not a range like 100.64.0.0/16".to_owned())?;
    let vpc = Landscape::standard().vpc;
    if range.trunc() != range || !(16..=20).contains(&range.prefix_len()) {
        Err("a further range is a /16 to /20 and starts at its first address".to_owned())
    } else if vpc.contains(&range) {
        Err(format!("the VPC has {vpc} already"))
    } else if let Some(outside) = [OUTSIDE, CORPORATE].into_iter().find(|outside| range.contains(outside)) {
        Err(format!("{outside} in it stands for the world outside the VPC"))
    } else {
        Ok(range)
    }
}

/// How a status is printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    /// For people
    #[default]
    Text,
    /// For programs
    Json,
}

impl Which {
    fn lab(&self) -> Result<Lab> {
        Ok(Lab::named(&self.directory, &self.name)?)
    }

    /// The options that choose this lab, as one would type them; nothing for the default one.
    fn typed(&self) -> String {
        let mut typed = String::new();
        if self.name != "enid-lab" {
            typed += &format!(" --name {}", self.name);
        }
        if self.directory != Path::new(DEFAULT_DIRECTORY) {
            typed += &format!(" --directory {}", self.directory.display());
        }
        typed
    }
}

/// Carries out a lab command. Must run before the process starts threads: some commands change namespace.
pub(crate) fn run(command: LabCommand) -> Result<()> {
    match command {
        LabCommand::Up { which, world } => up(&which, &world),
        LabCommand::Status { which, output } => status(&which, output),
        LabCommand::Exec { which, node, command } => {
            match which.lab()?.exec(&node, command_of(&command)?)? {}
        }
        LabCommand::Down(which) => down(&which),
        LabCommand::Serve { which, with_parent } => {
            if with_parent {
                end_with_parent()?;
            }
            Ok(Lab::as_started(&which.directory, &which.name)?.serve()?)
        }
        LabCommand::Enter { namespace, command } => enter(&namespace, &command),
    }
}

/// The command that becomes the process of `lab`, which has its files under `base`; with `--with-parent` it
/// ends with whoever started it.
pub(crate) fn server(base: &Path, lab: &str) -> Result<Command> {
    let mut server = ourselves()?;
    server.args(["lab", "serve", "--name", lab, "--directory"]).arg(base);
    Ok(server)
}

/// A command that runs this program's `arguments` in `namespace` and ends when the calling thread ends.
pub(crate) fn ourselves_inside(namespace: &NetNs, arguments: &[&str]) -> Result<Command> {
    let program = std::env::current_exe().context("find this program")?;
    let mut command = ourselves()?;
    command.args(["lab", "enter", namespace.name(), "--"]).arg(program).args(arguments);
    Ok(command)
}

/// This program, as a command.
pub(crate) fn ourselves() -> Result<Command> {
    Ok(Command::new(std::env::current_exe().context("find this program")?))
}

fn up(which: &Which, world: &World) -> Result<()> {
    let lab = Lab::with_landscape(&which.directory, &which.name, world.landscape())?;
    let (server, status) = lab.start(server(&which.directory, &which.name)?)?;
    let typed = which.typed();
    println!(
        "lab `{}` is up: process {}, files in {}\n",
        status.name,
        server.id(),
        lab.directory().display()
    );
    print_status(&status);
    println!("\nnext");
    for node in &status.nodes {
        let settings = lab.directory().join(format!("{}.toml", node.name));
        let written = fs::write(&settings, node_settings(&status, &lab.directory().join(&node.name)));
        written.with_context(|| format!("write {}", settings.display()))?;
        println!("  enid lab exec{typed} {} -- enid run --config {}", node.name, settings.display());
    }
    if let Some(node) = status.nodes.first() {
        println!("  enid lab exec{typed} {} -- aws ec2 describe-network-interfaces", node.name);
    }
    println!("  enid lab status{typed}");
    println!("  enid lab down{typed}");
    Ok(())
}

fn status(which: &Which, output: Output) -> Result<()> {
    let status = which.lab()?.status()?;
    match output {
        Output::Text => print_status(&status),
        Output::Json => println!("{}", serde_json::to_string_pretty(&status)?),
    }
    Ok(())
}

fn down(which: &Which) -> Result<()> {
    let lab = which.lab()?;
    let unmet = requirements::unmet();
    if !unmet.is_empty() && lab.expect_absent().is_err() {
        return Err(LabError::Unmet(unmet).into());
    }
    let removed = lab.down()?;
    if !removed.was_running && removed.namespaces == 0 {
        println!("lab `{}` was not there; nothing to do", which.name);
        return Ok(());
    }
    println!(
        "lab `{}` is down: {} namespaces removed, {} processes in them ended",
        which.name, removed.namespaces, removed.residents
    );
    Ok(())
}

fn enter(namespace: &str, command: &[OsString]) -> Result<()> {
    use std::os::unix::process::CommandExt;
    end_with_parent()?;
    let namespace = NetNs::named(namespace);
    namespace.enter()?;
    let mut command = command_of(command)?;
    let failed = command.exec();
    Err(failed).with_context(|| format!("run {:?} in {namespace}", command.get_program()))
}

/// Whatever happens to the process that started us, we do not outlive it.
fn end_with_parent() -> Result<()> {
    set_parent_process_death_signal(Some(Signal::TERM)).context("ask to end with the parent process")
}

fn command_of(words: &[OsString]) -> Result<Command> {
    let Some((program, arguments)) = words.split_first() else { bail!("no command after `--`") };
    let mut command = Command::new(program);
    command.args(arguments);
    Ok(command)
}

/// Settings with which `enid run` works on a node of the lab: with IPv4 for pods, whatever the VPC has.
pub(crate) fn node_settings(status: &Status, runtime: &Path) -> String {
    format!(
        "# enid on a lab node: start it with `enid lab exec`.\n\
         [node]\nruntime_dir = {runtime:?}\n\n\
         [cloud]\nregion = {region:?}\nec2_endpoint = {ec2:?}\nimds_endpoint = {imds:?}\n\n\
         # Nobody else calls the EC2 of a lab.\n[budget]\nshare = 1.0\nnodes = 1\n\n\
         [pool]\ncooldown_secs = 30\nwait_secs = 30\n\n\
         {network}\
         [engine]\ncache_dir = {cache:?}\n\n\
         [strategy.warm-pool]\nuse = \"warm-targets\"\nsettings = {{ warm_eni_target = 1 }}\n\n\
         [strategy.max-pods]\nuse = \"eks-max-pods\"\n\n\
         [strategy.subnet-selection]\nuse = \"most-free\"\n",
        cache = runtime.with_file_name("compiled"),
        network = if has_ipv6(status) {
            "[network]\n# What pods get: \"ipv4\", \"ipv6\" or \"dual-stack\".\nip_family = \"ipv4\"\n\n"
        } else {
            ""
        },
        region = status.region,
        ec2 = status.ec2_endpoint,
        imds = status.imds_endpoint,
    )
}

fn has_ipv6(status: &Status) -> bool {
    status.ranges.iter().any(|range| matches!(range, IpNet::V6(_)))
}

fn print_status(status: &Status) {
    println!("region     {}   vpc {}   {}", status.region, status.vpc, spaced(&status.ranges));
    println!("EC2        {}   (from inside the VPC)", status.ec2_endpoint);
    println!("metadata   {}", status.imds_endpoint);
    println!(
        "outside    {} {} and, as a corporate network, {} in namespace {}",
        status.outside, status.outside_ipv6, status.corporate, status.inet_namespace
    );
    for subnet in &status.subnets {
        println!(
            "subnet     {} {:<10} {:<10} {:<15} {:>3} free, {} whole /28 blocks {}",
            subnet.id,
            subnet.name,
            subnet.zone,
            subnet.cidr.to_string(),
            subnet.free_addresses,
            subnet.free_blocks,
            subnet.ipv6_cidr.map(|range| range.to_string()).unwrap_or_default(),
        );
    }
    print_instances("node", &status.nodes);
    print_instances("neighbour", &status.neighbours);
    status.enis.iter().for_each(print_eni);
    println!(
        "dropped    {} packets with a foreign source, {} frames with a foreign MAC",
        status.drops.foreign_source, status.drops.foreign_mac
    );
    let calls: Vec<String> = status.calls.iter().map(|(call, count)| format!("{call} {count}")).collect();
    println!("calls      {}", if calls.is_empty() { "none".to_owned() } else { calls.join(", ") });
    for problem in &status.diverged {
        println!("problem    {problem}");
    }
}

fn print_instances(kind: &str, instances: &[NodeStatus]) {
    for node in instances {
        println!(
            "{kind:<10} {:<9} {:<9} {} {:<12} namespace {} {}",
            node.name,
            node.instance_type,
            node.instance,
            node.address.to_string(),
            node.namespace,
            node.ipv6.map(|address| address.to_string()).unwrap_or_default()
        );
    }
}

fn print_eni(eni: &EniStatus) {
    let place = match &eni.attached {
        Some((node, device)) => format!("{node} card {} device {device}", eni.card),
        None => "not attached".to_owned(),
    };
    let link = eni.link.as_ref().map(ToString::to_string).unwrap_or_default();
    let own = match eni.primary_address {
        Some(address) => address.to_string(),
        None => eni.interface_type.clone(),
    };
    let [addresses, prefixes] = [spaced(&eni.addresses), spaced(&eni.prefixes)];
    let [ipv6_addresses, ipv6_prefixes] = [spaced(&eni.ipv6_addresses), spaced(&eni.ipv6_prefixes)];
    let all: Vec<String> = [addresses, prefixes, ipv6_addresses, ipv6_prefixes]
        .into_iter()
        .filter(|some| !some.is_empty())
        .collect();
    println!(
        "eni        {} {:<9} {place:<26} {link:<5} {own} + {}",
        eni.id,
        eni.status,
        if all.is_empty() { "nothing".to_owned() } else { all.join(" ") }
    );
}

fn spaced<T: ToString>(things: &[T]) -> String {
    things.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
}
