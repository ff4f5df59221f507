//! Who is answered, and what it costs.

use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::entrance::CONNECTIONS;
use super::*;
use crate::metrics::tests::{site, status};

/// A window before an engine that counts how often it is asked.
fn window() -> (Window, Arc<AtomicUsize>) {
    let (engine, mut asked) = mpsc::channel(8);
    let count = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&count);
    tokio::spawn(async move {
        while let Some(Request::Query { query: Query::Status, reply }) = asked.recv().await {
            counted.fetch_add(1, Ordering::Relaxed);
            let _gone = reply.send(View::Status(Box::new(status())));
        }
    });
    (Window { engine, metrics: Arc::new(Metrics::begin()), site: site() }, count)
}

async fn open() -> (SocketAddr, tokio::task::JoinHandle<io::Result<()>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    (address, tokio::spawn(let_in(listener, routes(window().0))))
}

/// Everything that comes for `said` until the other side hangs up.
async fn answer(address: SocketAddr, said: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(said.as_bytes()).await.unwrap();
    let mut text = Vec::new();
    // What was not read before it hung up makes an error of the end.
    let _end = stream.read_to_end(&mut text).await;
    String::from_utf8(text).unwrap()
}

#[tokio::test]
async fn a_probe_is_answered_in_any_crowd_that_says_nothing_or_half_of_it() {
    let (address, serving) = open().await;
    let mut crowd = Vec::new();
    for said in ["", "GET /metrics HTTP/1.1\r\nHost:"].repeat(2 * CONNECTIONS) {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(said.as_bytes()).await.unwrap();
        crowd.push(stream);
    }
    let text = answer(address, "GET /healthz HTTP/1.1\r\nHost: node\r\n\r\n").await;
    assert!(text.starts_with("HTTP/1.1 200 ") && text.ends_with("ok\n"), "{text}");
    // Whoever came first made room.
    assert_eq!(crowd[0].read(&mut [0; 16]).await.unwrap(), 0);
    serving.abort();
}

#[tokio::test]
async fn a_connection_carries_one_request_of_bounded_length() {
    let (address, serving) = open().await;
    for (page, status) in [("/metrics", "200"), ("/readyz", "503"), ("/nothing-here", "404")] {
        let asked = format!("GET {page} HTTP/1.1\r\nHost: node\r\n\r\n");
        let text = answer(address, &asked.repeat(2)).await;
        assert!(text.starts_with(&format!("HTTP/1.1 {status} ")), "{text}");
        assert!(text.contains("connection: close\r\n"), "{text}");
        assert_eq!(text.matches("HTTP/1.1").count(), 1, "{text}");
    }
    let long = format!("GET /healthz HTTP/1.1\r\nHost: node\r\nX: {}", "x".repeat(20 * 1024));
    let text = answer(address, &long).await;
    assert!(!text.contains("200"), "{text}");
    serving.abort();
}

#[tokio::test]
async fn one_look_and_one_text_serve_everybody_for_a_while() {
    let (window, asked) = window();
    let pane = Pane { window, seen: Mutex::new(None) };
    let look = pane.look().await.unwrap();
    let first = pane.text(&look, Format::Classic);
    assert_eq!(first.as_ptr(), pane.text(&look, Format::Classic).as_ptr());
    assert!(pane.text(&look, Format::OpenMetrics).ends_with(b"# EOF\n"));
    // However long this took, what is fresh is taken.
    *pane.seen.lock().await = Some((Instant::now() + FRESH, Some(look)));
    pane.look().await.unwrap();
    assert_eq!(asked.load(Ordering::Relaxed), 1);
    let before = Instant::now().checked_sub(FRESH).unwrap();
    *pane.seen.lock().await = Some((before, None));
    pane.look().await.unwrap();
    assert_eq!(asked.load(Ordering::Relaxed), 2);
}

#[tokio::test]
async fn an_engine_that_does_not_answer_is_waited_for_once_and_not_by_each_in_turn() {
    let (window, asked) = window();
    let pane = Pane { window, seen: Mutex::new(Some((Instant::now() + FRESH, None))) };
    assert!(pane.look().await.is_none());
    assert_eq!(asked.load(Ordering::Relaxed), 0);
}
