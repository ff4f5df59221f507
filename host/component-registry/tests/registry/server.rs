//! Debian's `docker-registry` on a free port of this machine, with a directory of its own; and a client that shares
//! no code with ours.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use enid_component_registry::layout::{CONFIG_TYPE, LAYER_TYPE, MANIFEST_TYPE};
use enid_component_store::Digest;
use serde_json::{Value, json};
use tempfile::TempDir;

/// How long anything here may take on a busy machine before it counts as hung.
const PATIENCE: Duration = Duration::from_secs(60);

/// A user of registries that want one, and the password's hash by bcrypt.
pub(crate) const USER: &str = "ann";
pub(crate) const PASSWORD: &str = "let me in";
const PASSWORD_HASH: &str = "$2b$04$abcdefghijklmnopqrstuuTnc8amReAFiMHxaSoW9U22KarbWnkSm";

/// Who may use a registry.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Open {
    ToAll,
    ToAnn,
}

/// A running registry; ends with this value.
pub(crate) struct Server {
    process: Child,
    directory: TempDir,
    /// Host and port.
    pub(crate) address: String,
}

impl Server {
    pub(crate) fn start(open: Open) -> Result<Self> {
        let directory = tempfile::tempdir()?;
        let storage = directory.path().join("storage");
        let mut config = json!({
            "version": "0.1",
            "log": { "level": "info", "formatter": "json" },
            "storage": { "filesystem": { "rootdirectory": storage } },
            "http": { "addr": "127.0.0.1:0" },
        });
        if open == Open::ToAnn {
            let passwords = directory.path().join("htpasswd");
            fs::write(&passwords, format!("{USER}:{PASSWORD_HASH}\n"))?;
            config["auth"] = json!({ "htpasswd": { "realm": "test", "path": passwords } });
        }
        // JSON is YAML.
        let path = directory.path().join("config.yml");
        fs::write(&path, config.to_string())?;
        let mut process = Command::new("docker-registry")
            .arg("serve")
            .arg(&path)
            .env_remove("OTEL_TRACES_EXPORTER")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .context("docker-registry is missing or does not start: apt-get install docker-registry")?;
        let log = process.stderr.take().context("no log")?;
        let mut server = Self { process, directory, address: String::new() };
        let (tell, told) = mpsc::channel();
        // Reads to the end, so that the registry never waits for somebody to read.
        thread::spawn(move || {
            for line in BufReader::new(log).lines().map_while(Result::ok) {
                if let Some((_, rest)) = line.split_once("listening on 127.0.0.1:") {
                    let port: String = rest.chars().take_while(char::is_ascii_digit).collect();
                    let _ = tell.send(format!("127.0.0.1:{port}"));
                }
            }
        });
        server.address =
            told.recv_timeout(PATIENCE).context("docker-registry does not say where it listens")?;
        Ok(server)
    }

    /// The file in which the registry keeps this blob.
    pub(crate) fn blob_path(&self, digest: Digest) -> PathBuf {
        let hex = digest.hex();
        let path = format!("storage/docker/registry/v2/blobs/sha256/{}/{hex}/data", &hex[..2]);
        self.directory.path().join(path)
    }

    /// A request by nothing but a socket.
    pub(crate) fn request(
        &self,
        method: &str,
        path: &str,
        content_type: &str,
        body: &[u8],
    ) -> Result<Response> {
        let mut connection = TcpStream::connect(&self.address)?;
        connection.set_read_timeout(Some(PATIENCE))?;
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: {}\r\nAccept: */*, {MANIFEST_TYPE}\r\nContent-Type: {content_type}\r\n\
             Content-Length: {}\r\nConnection: close\r\n\r\n",
            self.address,
            body.len()
        );
        connection.write_all(head.as_bytes())?;
        connection.write_all(body)?;
        let mut answer = Vec::new();
        connection.read_to_end(&mut answer)?;
        let end = answer.windows(4).position(|at| at == b"\r\n\r\n").context("an answer without an end")?;
        let head = String::from_utf8(answer[..end].to_vec())?;
        let status = head.split(' ').nth(1).context("no status")?.parse()?;
        Ok(Response { status, head, body: answer[end + 4..].to_vec() })
    }

    /// Uploads a blob into `repository`.
    pub(crate) fn put_blob(&self, repository: &str, bytes: &[u8]) -> Result<Digest> {
        let begun = self.request("POST", &format!("/v2/{repository}/blobs/uploads/"), "text/plain", b"")?;
        let location = begun.header("location").context("no location")?;
        let path = location.strip_prefix(&format!("http://{}", self.address)).unwrap_or(location);
        let digest = Digest::of(bytes);
        let path = format!("{path}&digest={digest}");
        let done = self.request("PUT", &path, "application/octet-stream", bytes)?;
        ensure!(done.status == 201, "{}", done.head);
        Ok(digest)
    }

    /// Uploads a manifest under a tag.
    pub(crate) fn put_manifest(
        &self,
        repository: &str,
        tag: &str,
        content_type: &str,
        bytes: &[u8],
    ) -> Result<Digest> {
        let path = format!("/v2/{repository}/manifests/{tag}");
        let done = self.request("PUT", &path, content_type, bytes)?;
        ensure!(done.status == 201, "{} {}", done.head, String::from_utf8_lossy(&done.body));
        Ok(Digest::of(bytes))
    }

    /// Uploads an artifact in the layout, changed as a test wants it; answers with the manifest's digest.
    pub(crate) fn put_artifact(
        &self,
        repository: &str,
        component: &[u8],
        change: impl Fn(&mut Value),
    ) -> Result<Digest> {
        let config = b"{}";
        let mut manifest = json!({
            "schemaVersion": 2,
            "mediaType": MANIFEST_TYPE,
            "config": descriptor(CONFIG_TYPE, self.put_blob(repository, config)?, config.len()),
            "layers": [descriptor(LAYER_TYPE, self.put_blob(repository, component)?, component.len())],
        });
        change(&mut manifest);
        let content_type = manifest["mediaType"].as_str().unwrap_or(MANIFEST_TYPE).to_owned();
        self.put_manifest(repository, "changed", &content_type, manifest.to_string().as_bytes())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself, which is as good.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

pub(crate) fn descriptor(media_type: &str, digest: Digest, size: usize) -> Value {
    json!({ "mediaType": media_type, "digest": digest, "size": size })
}

/// What came back.
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Response {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }
}
