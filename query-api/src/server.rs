//! The whole HTTP side on a socket, and probes alone on one of their own.

use std::future::Future;
use std::io;

use tokio::net::TcpListener;

use crate::app::App;
use crate::routes;
use crate::serve::run;

/// Serves all routes until `shutdown` resolves, then lets open requests end within `drain_max` and cuts the others off.
pub async fn serve(listener: TcpListener, app: &App, shutdown: impl Future<Output = ()>) -> io::Result<()> {
    run(listener, app, routes::router_of(app), shutdown).await
}

/// As [`serve`], but probes and metrics alone.
pub async fn serve_probes(listener: TcpListener, app: &App, shutdown: impl Future<Output = ()>) -> io::Result<()> {
    run(listener, app, routes::probes_of(app), shutdown).await
}
