//! The EC2 model on its wire, driven by clients that we did not write: boto3, botocore and the AWS CLI.
//!
//! The clients come from PyPI at pinned versions. Every answer is checked against botocore's service
//! model as well, and moto gives a second opinion. Runs on loopback only, without root.
//!
//! When a test fails: `cd tests/e2e/ec2`, set `ENID_EC2_SERVER` to the example's path (the failure prints
//! it) and run `python -m unittest -v` with the environment's Python.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use e2e::python;

const REQUIREMENTS: &str = include_str!("../ec2/requirements.txt");

#[test]
fn enis_live_attach_detach_and_die_as_on_ec2() -> Result<()> {
    run("test_eni_life")
}

#[test]
fn ipv6_network_cards_and_what_changes_in_a_vpc_work_as_on_ec2() -> Result<()> {
    run("test_address_modes")
}

#[test]
fn refusals_carry_ec2s_codes_and_statuses() -> Result<()> {
    run("test_errors")
}

#[test]
fn resources_are_found_by_filters_and_in_pages() -> Result<()> {
    run("test_describe")
}

#[test]
fn metadata_speaks_version_two_only_and_lags() -> Result<()> {
    run("test_metadata")
}

#[test]
fn the_aws_command_line_works() -> Result<()> {
    run("test_cli")
}

#[test]
fn moto_tells_the_same_story_where_it_is_right() -> Result<()> {
    run("test_second_opinion")
}

/// Runs one Python module against a freshly built server.
fn run(module: &str) -> Result<()> {
    let python = python::environment("ec2-clients", REQUIREMENTS);
    let server = server()?;
    let ran = Command::new(&python)
        .args(["-m", "unittest", "-v", module])
        .current_dir(scripts())
        .env("ENID_EC2_SERVER", &server)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("run {}", python.display()))?;
    ensure!(
        ran.status.success(),
        "ENID_EC2_SERVER={} {} -m unittest -v {module}: {}\n{}{}",
        server.display(),
        python.display(),
        ran.status,
        String::from_utf8_lossy(&ran.stdout),
        String::from_utf8_lossy(&ran.stderr)
    );
    Ok(())
}

fn scripts() -> PathBuf {
    Path::new(&std::env::var_os("CARGO_MANIFEST_DIR").expect("cargo and xtask tell it")).join("ec2")
}

/// Builds the example in the profile of this test, and finds it.
fn server() -> Result<PathBuf> {
    let mut build = Command::new(env!("CARGO"));
    build.args(["build", "--package", "enid-vpc-lab", "--example", "ec2_server", "--message-format", "json"]);
    if !cfg!(debug_assertions) {
        build.arg("--release");
    }
    let built = build.current_dir(scripts()).stderr(Stdio::inherit()).output().context("run cargo")?;
    ensure!(built.status.success(), "build the example ec2_server: {}", built.status);
    let messages = String::from_utf8(built.stdout).context("read cargo's messages")?;
    let executable = messages
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
        .find_map(|message| {
            let is_ours = message["target"]["name"] == "ec2_server";
            message["executable"].as_str().filter(|_| is_ours).map(PathBuf::from)
        });
    executable.context("cargo did not say where ec2_server is")
}
