//! The server on a socket: limits of connections and heads, and the stop.

use std::net::SocketAddr;
use std::time::Duration;

use pedigraph_query_api::Limits;
use pedigraph_query_api::serve::serve_with;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::world::World;

async fn start(world: &World, limits: Limits) -> (SocketAddr, oneshot::Sender<()>, JoinHandle<std::io::Result<()>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let router = pedigraph_query_api::router(world.config());
    let (stop, stopped) = oneshot::channel();
    let server = tokio::spawn(async move {
        let stopped = async move {
            let _ = stopped.await;
        };
        serve_with(listener, router, stopped, &limits).await
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
    let large = format!("GET /livez HTTP/1.1\r\nHost: {address}\r\nX: {}\r\n\r\n", "x".repeat(20 << 10));
    let answer = hear(say(address, &large).await).await;
    assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
    drop(stop);
    server.await.expect("not panicked").expect("stopped well");
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
