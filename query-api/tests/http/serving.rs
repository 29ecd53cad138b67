//! The server on a socket: limits of connections and heads, and the stop.

use std::net::SocketAddr;
use std::time::Duration;

use pedigraph_query_api::{App, Config, Limits, serve};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::world::{World, deployed};

async fn start(world: &World, limits: Limits) -> (SocketAddr, oneshot::Sender<()>, JoinHandle<std::io::Result<()>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let app = App::new(Config { limits, ..world.config() });
    let (stop, stopped) = oneshot::channel();
    let server = tokio::spawn(async move {
        let stopped = async move {
            let _ = stopped.await;
        };
        serve(listener, &app, stopped).await
    });
    (address, stop, server)
}

async fn say(address: SocketAddr, text: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.expect("connected");
    stream.write_all(text.as_bytes()).await.expect("written");
    stream
}

async fn hear(mut stream: TcpStream) -> String {
    let mut heard = Vec::new();
    let read = tokio::time::timeout(Duration::from_secs(20), stream.read_to_end(&mut heard)).await;
    assert!(read.is_ok(), "the connection stays open");
    String::from_utf8_lossy(&heard).into_owned()
}

#[tokio::test]
async fn a_request_is_answered_over_a_socket() {
    let world = World::new();
    let (address, stop, server) = start(&world, Limits::default()).await;
    let request = format!("GET /livez HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    let answer = hear(say(address, &request).await).await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("ok\n"), "{answer}");
    drop(stop);
    server.await.expect("not panicked").expect("stopped well");
}

#[tokio::test]
async fn a_slow_or_large_head_ends_the_connection() {
    let world = World::new();
    let limits = Limits { head_time_max: Duration::from_millis(100), header_bytes_max: 16 << 10, ..Limits::default() };
    let (address, stop, server) = start(&world, limits).await;
    assert!(!hear(say(address, "GET /livez HTTP/1.1\r\nHost: ").await).await.contains(" 200 "));
    let sized = |bytes: usize| {
        let head = format!("GET /livez HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nX: ");
        format!("{head}{}\r\n\r\n", "x".repeat(bytes - head.len() - 4))
    };
    assert!(hear(say(address, &sized(16 << 10)).await).await.starts_with("HTTP/1.1 200 "));
    for bytes in [(16 << 10) + 1, 17 << 10, 40 << 10] {
        let answer = hear(say(address, &sized(bytes)).await).await;
        assert_eq!(problem(&answer), (431, "HEAD_TOO_LARGE".into()), "{bytes}");
    }
    drop(stop);
    server.await.expect("not panicked").expect("stopped well");
}

/// Status and code of a problem in full.
fn problem(answer: &str) -> (u16, String) {
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: {answer:?}"));
    let head = head.to_ascii_lowercase();
    assert!(head.contains("content-type: application/problem+json"), "{answer}");
    assert!(head.contains(&format!("content-length: {}", body.len())), "{answer}");
    let body: serde_json::Value = serde_json::from_str(body).unwrap_or_else(|error| panic!("{error} in {answer}"));
    let id = body["instance"].as_str().unwrap_or_default();
    assert!(!id.is_empty() && head.contains(&format!("x-request-id: {id}")), "{answer}");
    let status = body["status"].as_u64().and_then(|status| u16::try_from(status).ok()).unwrap_or(0);
    assert!(head.starts_with(&format!("http/1.1 {status} ")), "{answer}");
    (status, body["code"].as_str().unwrap_or_default().to_owned())
}

#[tokio::test]
async fn what_is_no_request_is_told_so_with_a_code() {
    let world = World::new();
    let (address, stop, server) = start(&world, Limits::default()).await;
    for bad in [
        "nonsense\r\n\r\n".to_owned(),
        "GET /livez HTTP/7.1\r\n\r\n".to_owned(),
        format!("GET /livez HTTP/1.1\r\nHost: {address}\r\nbad header\r\n\r\n"),
        "GET /livez HTTP/1.1\r\nConnection: close\r\n\r\n".to_owned(),
        format!("GET /livez HTTP/1.1\r\nHost: {address}\r\nHost: {address}\r\nConnection: close\r\n\r\n"),
        "GET /livez HTTP/1.1\r\nHost: localhost:1@evil.test\r\nConnection: close\r\n\r\n".to_owned(),
    ] {
        assert_eq!(problem(&hear(say(address, &bad).await).await), (400, "BAD_REQUEST".into()), "{bad}");
    }
    let good = format!("GET /livez HTTP/1.1\r\nHost: {address}\r\n\r\n");
    let answers = hear(say(address, &format!("{good}{good}nonsense\r\n\r\n")).await).await;
    assert!(answers.matches("HTTP/1.1 200 OK").count() == 2 && answers.contains("HTTP/1.1 400 "), "{answers}");
    drop(stop);
    server.await.expect("not panicked").expect("stopped well");
}

/// One request on a connection of its own; the status, 0 if there was no answer.
async fn status(address: SocketAddr, path: &str) -> u16 {
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    let answer = hear(say(address, &request).await).await;
    answer.get(9..12).and_then(|status| status.parse().ok()).unwrap_or(0)
}

/// Asks until the answer is good.
async fn until_answered(address: SocketAddr, path: &str) {
    let answered = async { while status(address, path).await != 200 {} };
    tokio::time::timeout(Duration::from_secs(30), answered).await.expect("answered at last");
}

/// The value of a metric.
async fn metric(address: SocketAddr, name: &str) -> u64 {
    let request = format!("GET /metrics HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    let text = hear(say(address, &request).await).await;
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    let value = value.unwrap_or_else(|| panic!("no {name} in {text}"));
    value.strip_suffix(".0").unwrap_or(value).parse().expect("a number")
}

/// More requests at once than a connection's buffers hold answers to.
fn pipelined(address: SocketAddr) -> String {
    format!("GET /openapi.json HTTP/1.1\r\nHost: {address}\r\n\r\n").repeat(1_000)
}

#[tokio::test]
async fn who_pipelines_and_never_reads_neither_stops_others_nor_is_worked_for() {
    let world = World::new();
    let limits = Limits { connections_max: 40, write_time_max: Duration::from_secs(300), ..Limits::default() };
    let (address, stop, server) = start(&world, limits).await;
    let mut deaf = Vec::new();
    for _ in 0..60 {
        let mut stream = TcpStream::connect(address).await.expect("connected");
        let text = pipelined(address);
        deaf.push(tokio::spawn(async move {
            // Not all of it is taken, and some of these are answered that the server is full.
            let _taken = stream.write_all(text.as_bytes()).await;
            stream
        }));
    }
    assert_eq!(status(address, "/livez").await, 200, "probes have places of their own");
    assert_eq!(status(address, "/readyz").await, 200);
    until_answered(address, "/api/v1/environments").await;
    assert!(metric(address, "pedigraph_http_connections_closed_total{why=\"displaced\"}").await >= 1);
    let answered = "pedigraph_http_requests_total{route=\"/openapi.json\",method=\"GET\",status=\"200\"}";
    // A connection's buffers take some answers of 120 KB; of 60,000 requests few are worked on.
    let answered = metric(address, answered).await;
    assert!(answered < 60 * 100, "{answered} answers were made");
    deaf.iter().for_each(tokio::task::JoinHandle::abort);
    drop(stop);
    server.await.expect("not panicked").expect("stopped well");
}

#[tokio::test]
async fn a_connection_whose_client_takes_nothing_ends() {
    let world = World::new();
    let limits = Limits { write_time_max: Duration::from_millis(200), ..Limits::default() };
    let (address, stop, server) = start(&world, limits).await;
    let (mut reading, mut writing) = TcpStream::connect(address).await.expect("connected").into_split();
    let text = pipelined(address);
    let writer = tokio::spawn(async move { writing.write_all(text.as_bytes()).await });
    let stalled = "pedigraph_http_connections_closed_total{why=\"stalled\"}";
    while metric(address, stalled).await == 0 {
        tokio::task::yield_now().await;
    }
    let mut rest = Vec::new();
    let _reset_or_ended = reading.read_to_end(&mut rest).await;
    assert!(rest.len() < text_bytes_of_all_answers(), "not all answers were sent");
    let _reset = writer.await.expect("not panicked");
    drop(stop);
    server.await.expect("not panicked").expect("stopped well");
}

fn text_bytes_of_all_answers() -> usize {
    1_000 * pedigraph_query_api::openapi::DOCUMENT.len()
}

/// Few threads may block, and many clients that do not read ask for more than a connection holds.
#[test]
fn slow_readers_of_bodies_hold_no_thread_and_not_the_stop() {
    let runtime = tokio::runtime::Builder::new_multi_thread().max_blocking_threads(4).enable_all().build();
    let runtime = runtime.expect("a runtime");
    let world = World::new();
    let mut sent = deployed("2026-01-01T00:00:00Z", "prod", "cart", "1");
    sent.body = vec![b'x'; 12 << 20].into();
    world.append(&[sent]);
    runtime.block_on(async {
        let limits = Limits { bodies_max: 48, drain_max: Duration::from_millis(200), ..Limits::default() };
        let (address, stop, server) = start(&world, limits).await;
        let mut slow = Vec::new();
        for _ in 0..48 {
            let request = format!("GET /api/v1/entries/0/body HTTP/1.1\r\nHost: {address}\r\n\r\n");
            let mut stream = say(address, &request).await;
            let mut head = [0; 12];
            stream.read_exact(&mut head).await.expect("an answer");
            assert_eq!(&head, b"HTTP/1.1 200");
            slow.push(stream);
        }
        assert_eq!(metric(address, "pedigraph_http_bodies").await, 48);
        assert_eq!(status(address, "/api/v1/environments/prod").await, 200);
        assert_eq!(status(address, "/readyz").await, 200);
        assert_eq!(status(address, "/api/v1/entries/0/body").await, 503, "no place is left");
        let whole = slow.pop().expect("a stream");
        drop(slow);
        while metric(address, "pedigraph_http_bodies").await > 1 {
            tokio::task::yield_now().await;
        }
        let text = read_on(whole, 12 << 20).await;
        assert!(text.ends_with(&[b'x'; 100]));
        let held = say(address, &format!("GET /api/v1/entries/0/body HTTP/1.1\r\nHost: {address}\r\n\r\n")).await;
        until_open(address).await;
        drop(stop);
        let ended = tokio::time::timeout(Duration::from_secs(9), server).await;
        ended.expect("the stop has an end").expect("not panicked").expect("stopped well");
        drop(held);
    });
    // Would wait for a thread that blocks.
    drop(runtime);
}

/// Answers above what a kernel takes in for a client that does not read are kept here, up to a limit in sum.
#[tokio::test]
async fn answers_that_nobody_reads_are_bounded_in_sum() {
    let world = World::new();
    let service =
        |n: usize| deployed("2026-01-01T00:00:00Z", "yard", &format!("crane-{n:04}-{}", "y".repeat(900)), "1");
    world.append(&(0..800).map(service).collect::<Vec<_>>());
    let path = "/api/v1/environments/yard?pageSize=1000";
    let one = world.client().get(path).await.bytes.len();
    assert!(one > 1 << 20, "{one} bytes");
    let limits = Limits { unread_bytes_max: 5 * one, write_time_max: Duration::from_secs(300), ..Limits::default() };
    let (address, stop, server) = start(&world, limits).await;
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\n\r\n");
    let (mut deaf, mut refused) = (Vec::new(), 0);
    for _ in 0..25 {
        let mut stream = deaf_client(address).await;
        stream.write_all(request.as_bytes()).await.expect("written");
        let mut head = [0; 12];
        stream.read_exact(&mut head).await.expect("an answer");
        match &head {
            b"HTTP/1.1 200" => deaf.push(stream),
            _ => {
                let rest = format!("{}{}", String::from_utf8_lossy(&head), hear_a_little(stream).await);
                assert!(rest.starts_with("HTTP/1.1 503") && rest.contains("\"code\":\"OVERLOADED\""), "{rest}");
                assert!(rest.to_ascii_lowercase().contains("retry-after: 5"), "{rest}");
                refused += 1;
            }
        }
    }
    assert_eq!((deaf.len(), refused), (5, 20));
    let held = metric(address, UNREAD).await;
    assert!(held <= 5 * one as u64 && held > 4 * one as u64, "{held} bytes of answers of {one}");
    assert_eq!(metric(address, "pedigraph_http_unread_refused_total").await, 20);
    assert_eq!(status(address, "/readyz").await, 200);
    let taken = read_on(deaf.pop().expect("a client"), one).await;
    assert!(taken.len() >= one);
    until_answered(address, path).await;
    drop(deaf);
    while metric(address, UNREAD).await > 0 {
        tokio::task::yield_now().await;
    }
    drop(stop);
    server.await.expect("not panicked").expect("stopped well");
}

const UNREAD: &str = "pedigraph_http_unread_bytes";

/// A client whose kernel takes in little.
async fn deaf_client(address: SocketAddr) -> TcpStream {
    let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
    socket.set_recv_buffer_size(4_096).expect("a small one");
    socket.connect(address).await.expect("connected")
}

/// What comes at once, up to the end of a problem.
async fn hear_a_little(mut stream: TcpStream) -> String {
    let mut heard = String::new();
    let mut part = [0; 4_096];
    while !heard.ends_with('}') {
        let read = stream.read(&mut part).await.expect("bytes");
        assert_ne!(read, 0, "ended after {heard}");
        heard.push_str(&String::from_utf8_lossy(&part[..read]));
    }
    heard
}

async fn until_open(address: SocketAddr) {
    while metric(address, "pedigraph_http_bodies").await != 1 {
        tokio::task::yield_now().await;
    }
}

async fn read_on(mut stream: TcpStream, bytes: usize) -> Vec<u8> {
    let mut text = Vec::new();
    let mut part = vec![0; 64 << 10];
    while text.len() < bytes {
        let read = stream.read(&mut part).await.expect("bytes");
        assert_ne!(read, 0, "ended after {}", text.len());
        text.extend_from_slice(&part[..read]);
    }
    text
}

#[tokio::test]
async fn streams_end_when_the_server_stops() {
    let world = World::new();
    let (address, stop, server) = start(&world, Limits::default()).await;
    let mut stream = say(address, &format!("GET /api/v1/subscribe HTTP/1.1\r\nHost: {address}\r\n\r\n")).await;
    let mut first = [0; 12];
    stream.read_exact(&mut first).await.expect("an answer");
    assert_eq!(&first, b"HTTP/1.1 200");
    drop(stop);
    let rest = hear(stream).await;
    assert!(rest.ends_with("0\r\n\r\n"), "{rest}");
    server.await.expect("not panicked").expect("stopped well");
}

/// An answer that comes before the end of a body never costs the client its next request: what is left of a small body
/// is read, and the answer to a large one says that the connection ends.
#[tokio::test]
async fn a_body_that_nobody_wants_costs_the_next_request_nothing() {
    let world = World::new();
    let (address, stop, server) = start(&world, Limits::default()).await;
    let post = |length: usize, more: &str| {
        format!("POST /api/v1/lineage/export HTTP/1.1\r\nHost: {address}\r\nContent-Length: {length}\r\n{more}\r\n")
    };
    let next = format!("GET /livez HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    let ends = |answer: &str| answer.to_ascii_lowercase().contains("connection: close");

    let mut small = say(address, &post(300_000, "")).await;
    for _ in 0..30 {
        small.write_all(&[b' '; 10_000]).await.expect("written");
    }
    small.write_all(next.as_bytes()).await.expect("written");
    let answers = hear(small).await;
    assert!(answers.starts_with("HTTP/1.1 413 ") && answers.ends_with("ok\n"), "{answers}");

    let mut chunks =
        say(address, &format!("POST /nowhere HTTP/1.1\r\nHost: {address}\r\nTransfer-Encoding: chunked\r\n\r\n")).await;
    chunks.write_all(b"3\r\nabc\r\n0\r\n\r\n").await.expect("written");
    chunks.write_all(next.as_bytes()).await.expect("written");
    let answers = hear(chunks).await;
    assert!(answers.starts_with("HTTP/1.1 404 ") && answers.ends_with("ok\n"), "{answers}");

    for (length, more) in [(2 << 20, ""), (300_000, "Expect: 100-continue\r\n"), (300_000, "")] {
        let mut long = say(address, &post(length, more)).await;
        // The last of them never sends its body.
        if length > 1 << 20 {
            long.write_all(&vec![b' '; (1 << 20) + 400_000]).await.expect("written");
        }
        let answer = hear(long).await;
        assert!(answer.starts_with("HTTP/1.1 413 ") && ends(&answer), "{length} {more} {answer}");
    }
    drop(stop);
    server.await.expect("not panicked").expect("stopped well");
}
