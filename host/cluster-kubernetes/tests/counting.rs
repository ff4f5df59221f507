//! What is asked of a Kubernetes API, and what becomes of its answers: a scripted server says them over HTTP.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use enid_cluster_kubernetes::{Cluster, ClusterError};
use serde_json::{Value, json};
use tempfile::TempDir;

/// What it answers, and what it was asked.
#[derive(Clone, Default)]
struct Script {
    answers: Arc<Mutex<VecDeque<(u16, Value)>>>,
    asked: Arc<Mutex<Vec<String>>>,
}

async fn answer(State(script): State<Script>, request: Request) -> Response {
    let header = |name: &str| request.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or("");
    let (token, accepts) = (header("authorization").to_owned(), header("accept").to_owned());
    let asked = format!("{} {} | {token} | {accepts}", request.method(), request.uri());
    script.asked.lock().expect("nobody panics").push(asked);
    let (status, body) =
        script.answers.lock().expect("nobody panics").pop_front().expect("an answer is left");
    (
        StatusCode::from_u16(status).expect("a status"),
        [("content-type", "application/json")],
        body.to_string(),
    )
        .into_response()
}

/// A server that gives these answers in turn, and a cluster to ask it.
async fn scripted(answers: impl IntoIterator<Item = (u16, Value)>) -> (Script, Cluster, TempDir) {
    let script = Script::default();
    script.answers.lock().expect("nobody panics").extend(answers);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let app = axum::Router::new().fallback(answer).with_state(script.clone());
    tokio::spawn(async move { axum::serve(listener, app).await });
    let (directory, file) = kubeconfig(&format!("http://{address}"));
    let cluster = Cluster::by_kubeconfig(&file).await.expect("a whole file");
    (script, cluster, directory)
}

fn kubeconfig(server: &str) -> (TempDir, std::path::PathBuf) {
    let directory = TempDir::new().expect("a directory");
    let file = directory.path().join("kubeconfig");
    let text = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "here",
        "clusters": [{ "name": "it", "cluster": { "server": server } }],
        "users": [{ "name": "me", "user": { "token": "secret" } }],
        "contexts": [{ "name": "here", "context": { "cluster": "it", "user": "me" } }],
    });
    std::fs::write(&file, text.to_string()).expect("it can be written");
    (directory, file)
}

/// A page with so many nodes, and what the server says of those beyond it.
fn page(nodes: u32, beyond: Value) -> (u16, Value) {
    let node = |number| {
        json!({ "apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadata",
                "metadata": { "name": format!("node-{number}") } })
    };
    let items: Vec<Value> = (0..nodes).map(node).collect();
    let list = json!({ "apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadataList",
                       "metadata": beyond, "items": items });
    (200, list)
}

fn refusal(code: u16, reason: &str) -> (u16, Value) {
    let status = json!({ "apiVersion": "v1", "kind": "Status", "status": "Failure", "code": code, "reason": reason,
                         "message": "nodes is forbidden: User \"me\" cannot list resource \"nodes\"" });
    (code, status)
}

#[tokio::test]
async fn one_small_request_counts_a_large_cluster() {
    let beyond = json!({ "continue": "more", "remainingItemCount": 4999 });
    let (script, cluster, _file) = scripted([page(1, beyond)]).await;
    assert_eq!(cluster.count_nodes().await.expect("an answer").get(), 5000);
    let asked = script.asked.lock().expect("nobody panics").clone();
    assert_eq!(asked.len(), 1, "{asked:?}");
    assert!(asked[0].starts_with("GET /api/v1/nodes?"), "{asked:?}");
    assert!(asked[0].contains("limit=1 |") && asked[0].contains("Bearer secret"), "{asked:?}");
    assert!(asked[0].contains("as=PartialObjectMetadataList"), "{asked:?}");
}

#[tokio::test]
async fn a_cluster_of_one_is_one() {
    let (_, cluster, _file) = scripted([page(1, json!({}))]).await;
    assert_eq!(cluster.count_nodes().await.expect("an answer").get(), 1);
}

#[tokio::test]
async fn a_server_that_does_not_say_how_many_are_beyond_is_asked_for_all() {
    let pages = [
        page(1, json!({ "continue": "a" })),
        page(500, json!({ "continue": "b" })),
        page(20, json!({ "continue": "" })),
    ];
    let (script, cluster, _file) = scripted(pages).await;
    assert_eq!(cluster.count_nodes().await.expect("an answer").get(), 521);
    let asked = script.asked.lock().expect("nobody panics").clone();
    assert!(asked[1].contains("limit=500") && asked[1].contains("continue=a"), "{asked:?}");
    assert!(asked[2].contains("continue=b"), "{asked:?}");
}

#[tokio::test]
async fn a_server_that_never_comes_to_an_end_is_left() {
    let pages = std::iter::repeat_with(|| page(500, json!({ "continue": "on" }))).take(200);
    let (script, cluster, _file) = scripted(pages).await;
    assert_eq!(cluster.count_nodes().await.expect("an answer").get(), 50_000);
    assert_eq!(script.asked.lock().expect("nobody panics").len(), 100);
}

#[tokio::test]
async fn what_the_server_says_against_it_is_told() {
    let (_, cluster, _file) = scripted([refusal(403, "Forbidden")]).await;
    let error = cluster.count_nodes().await.expect_err("it is refused").to_string();
    let words = "nodes is forbidden: User \"me\" cannot list resource \"nodes\" (403)";
    assert_eq!(error, format!("the Kubernetes API at {} does not list nodes: {words}", cluster.server()));
}

#[tokio::test]
async fn an_empty_cluster_is_no_cluster() {
    let (_, cluster, _file) = scripted([page(0, json!({}))]).await;
    let error = cluster.count_nodes().await.expect_err("this node is missing");
    assert!(matches!(error, ClusterError::Empty { .. }), "{error}");
}

#[tokio::test]
async fn nonsense_is_an_error_and_no_number() {
    let negative = page(1, json!({ "continue": "on", "remainingItemCount": -3 }));
    let (script, cluster, _file) =
        scripted([negative, page(2, json!({})), (200, json!(["no", "list"]))]).await;
    assert_eq!(cluster.count_nodes().await.expect("the pages count").get(), 3);
    assert_eq!(script.asked.lock().expect("nobody panics").len(), 2);
    let error = cluster.count_nodes().await.expect_err("that is no list");
    assert!(matches!(error, ClusterError::Refused { .. }), "{error}");
    let absurd = page(1, json!({ "continue": "on", "remainingItemCount": 4_000_000_000_u64 }));
    let (_, cluster, _file) = scripted([absurd]).await;
    let error = cluster.count_nodes().await.expect_err("no cluster is so large");
    assert!(matches!(error, ClusterError::Absurd { nodes: 4_000_000_001, .. }), "{error}");
}

#[tokio::test]
async fn an_answer_without_end_is_not_kept() {
    let labels = "x".repeat(17 << 20);
    let node = json!({ "apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadata",
                       "metadata": { "name": "node", "labels": { "large": labels } } });
    let list = json!({ "apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadataList",
                       "metadata": {}, "items": [node] });
    let (_, cluster, _file) = scripted([(200, list), page(1, json!({}))]).await;
    let error = cluster.count_nodes().await.expect_err("it is too large").to_string();
    assert!(error.contains("length limit exceeded"), "{error}");
    assert_eq!(cluster.count_nodes().await.expect("the next one is not").get(), 1);
}

#[tokio::test]
async fn no_program_is_run_for_a_token() {
    let directory = TempDir::new().expect("a directory");
    let (file, trace) = (directory.path().join("kubeconfig"), directory.path().join("trace"));
    let touch = json!({ "apiVersion": "client.authentication.k8s.io/v1", "command": "touch", "args": [trace],
                        "interactiveMode": "Never" });
    let text = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "here",
        "clusters": [{ "name": "it", "cluster": { "server": "http://127.0.0.1:9" } }],
        "users": [{ "name": "me", "user": { "exec": touch } }],
        "contexts": [{ "name": "here", "context": { "cluster": "it", "user": "me" } }],
    });
    std::fs::write(&file, text.to_string()).expect("it can be written");
    let error = Cluster::by_kubeconfig(&file).await.err().expect("it is refused").to_string();
    assert!(error.contains("put a token") && error.contains(&file.display().to_string()), "{error}");
    assert!(!trace.exists(), "the program was run");
}

#[tokio::test]
async fn nobody_there_is_told_with_the_place() {
    let nobody: SocketAddr = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        listener.local_addr().expect("an address")
    };
    let (_directory, file) = kubeconfig(&format!("http://{nobody}"));
    let cluster = Cluster::by_kubeconfig(&file).await.expect("a whole file");
    let error = cluster.count_nodes().await.expect_err("nobody listens").to_string();
    assert!(error.contains(&nobody.to_string()) && error.contains("refused"), "{error}");
}

#[tokio::test]
async fn a_file_that_is_no_kubeconfig_is_named() {
    let directory = TempDir::new().expect("a directory");
    let missing = directory.path().join("nowhere");
    let wrong = directory.path().join("wrong");
    std::fs::write(&wrong, "current-context: [").expect("it can be written");
    for file in [missing, wrong] {
        let error = Cluster::by_kubeconfig(&file).await.err().expect("it cannot be used").to_string();
        assert!(error.contains(&file.display().to_string()), "{error}");
    }
}
