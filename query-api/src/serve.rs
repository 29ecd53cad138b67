//! The server's loop: accept, serve each connection with its limits, stop gracefully.
//!
//! A client that sends nothing, takes nothing, or never ends cannot hold more than its place: heads and writes have
//! deadlines, one answer at a time is made for a connection, and when places are short it goes first.

mod conversation;
mod flow;
mod places;
mod request_body;
mod socket;

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::{Extension, Router};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use socket2::SockRef;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use crate::app::App;
use crate::limits::Limits;
use crate::metrics::{Closed, Metrics};
use crate::serve::conversation::Conversation;
pub(crate) use crate::serve::conversation::{Peer, ProbesOnly};
pub(crate) use crate::serve::places::network_of;
use crate::serve::places::{Place, Places};
use crate::serve::socket::Socket;

/// Pause after an accept that failed, as when there are no more file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Bytes that the kernel may hold of an answer before the client's turn to read them comes. It is also what a slow
/// client must take within the write deadline.
const UNSENT_BYTES_MAX: u32 = 128 << 10;

/// Becomes true when the server stops; streams end then.
#[derive(Clone, Debug)]
pub struct Stopping(watch::Receiver<bool>);

impl Stopping {
    /// Resolves when the server stops.
    pub async fn wait(&mut self) {
        // An error means that the server is gone, which is a stop as well.
        let _ = self.0.wait_for(|stopping| *stopping).await;
    }
}

/// Serves a router until `shutdown` resolves, then lets open requests end within `drain_max` and cuts the others off.
pub(crate) async fn run(
    listener: TcpListener,
    app: &App,
    router: Router,
    shutdown: impl Future<Output = ()>,
) -> io::Result<()> {
    Server::new(app, router).run(listener, shutdown).await
}

struct Server {
    router: Router,
    builder: http1::Builder,
    limits: Limits,
    metrics: Arc<Metrics>,
    places: Arc<Places>,
    graceful: GracefulShutdown,
}

impl Server {
    fn new(app: &App, router: Router) -> Server {
        let limits = app.limits();
        Server {
            router,
            builder: connection_builder(limits),
            limits: limits.clone(),
            metrics: Arc::clone(&app.metrics),
            places: Places::new(limits, Arc::clone(&app.metrics)),
            graceful: GracefulShutdown::new(),
        }
    }

    async fn run(self, listener: TcpListener, shutdown: impl Future<Output = ()>) -> io::Result<()> {
        let (stop, stopping) = watch::channel(false);
        let service = TowerToHyperService::new(self.router.clone().layer(Extension(Stopping(stopping))));
        let mut shutdown = std::pin::pin!(shutdown);
        loop {
            let (stream, peer) = tokio::select! {
                accepted = accept(&listener) => accepted,
                () = &mut shutdown => break,
            };
            // Closed at once when there is no place: who comes is told, and not left in a queue that nobody looks at.
            if let Some(place) = self.places.take(peer.ip()) {
                self.talk(stream, peer, place, &service);
            }
        }
        drop(listener);
        stop.send_replace(true);
        let Server { graceful, places, limits, .. } = self;
        if tokio::time::timeout(limits.drain_max, graceful.shutdown()).await.is_err() {
            tracing::warn!("some requests did not end in time and are cut off");
            places.end_all();
        }
        Ok(())
    }

    /// Serves a connection in a task of its own.
    fn talk(&self, stream: TcpStream, peer: SocketAddr, place: Place, service: &TowerToHyperService<Router>) {
        prepare(&stream, &self.limits);
        let socket = Socket::new(stream, Arc::clone(&place.flow), self.limits.write_time_max);
        let conversation = Conversation::new(service.clone(), Arc::clone(&place.flow), Peer(peer.ip()), place.kind);
        let connection = self.graceful.watch(self.builder.serve_connection(TokioIo::new(socket), conversation));
        let metrics = Arc::clone(&self.metrics);
        tokio::spawn(async move {
            tokio::select! {
                ended = connection => if let Err(error) = ended {
                    tracing::debug!(%error, "a connection ended early");
                    if place.flow.waited().is_some_and(|(stuck, _)| stuck) {
                        metrics.closed(Closed::Stalled);
                    }
                },
                () = place.flow.ended() => tracing::debug!("a connection was cut off"),
            }
        });
    }
}

fn connection_builder(limits: &Limits) -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(limits.head_time_max)
        .max_header_size(limits.header_bytes_max)
        .max_buf_size(limits.header_bytes_max);
    builder
}

/// What the kernel does by itself: a client that is gone without a word ends the connection, too.
fn prepare(stream: &TcpStream, limits: &Limits) {
    let socket = SockRef::from(stream);
    let set = stream
        .set_nodelay(true)
        .and_then(|()| socket.set_tcp_user_timeout(Some(limits.write_time_max)))
        .and_then(|()| socket.set_tcp_notsent_lowat(UNSENT_BYTES_MAX));
    if let Err(error) = set {
        tracing::debug!(%error, "an option of a connection cannot be set");
    }
}

/// Tries again after a failed accept, which concerns that connection or passes.
async fn accept(listener: &TcpListener) -> (TcpStream, SocketAddr) {
    loop {
        match listener.accept().await {
            Ok(accepted) => return accepted,
            Err(error) => {
                tracing::warn!(%error, "accept failed");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}
