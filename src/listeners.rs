//! The sockets of a server: one for everything, and, if asked for, one for probes alone, which nobody else can fill.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Context;
use pedigraph_query_api::{self as api, App, Limits, Tokens};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::output::{Exit, Failure, put};

/// File descriptors for everything but connections: the journal, views, spooled documents, Kafka.
const FILES_BESIDE: u64 = 512;

/// Sockets that are listened on.
pub(crate) struct Listeners {
    all: TcpListener,
    probes: Option<TcpListener>,
}

impl Listeners {
    /// Listens, on loopback only where there are no tokens.
    pub(crate) async fn bind(
        listen: SocketAddr,
        probe_listen: Option<SocketAddr>,
        tokens: Option<&Arc<Tokens>>,
    ) -> anyhow::Result<Listeners> {
        let bind = async |address: SocketAddr| {
            let usage = |why: String| Failure::error(Exit::Usage, why);
            api::check_bind(address, tokens.map(Arc::as_ref)).map_err(usage)?;
            TcpListener::bind(address).await.with_context(|| format!("cannot listen on {address}"))
        };
        let probes = match probe_listen {
            None => None,
            Some(address) => Some(bind(address).await?),
        };
        Ok(Listeners { all: bind(listen).await?, probes })
    }

    /// Where everything is served.
    pub(crate) fn address(&self) -> std::io::Result<SocketAddr> {
        self.all.local_addr()
    }

    /// Serves until the stop.
    pub(crate) fn serve(self, app: App, stopping: &watch::Receiver<bool>) -> JoinHandle<std::io::Result<()>> {
        let until = || {
            let mut stopping = stopping.clone();
            async move {
                let _sender_is_gone = stopping.wait_for(|stop| *stop).await;
            }
        };
        let (for_all, for_probes) = (until(), until());
        tokio::spawn(async move {
            let probes = async {
                let Some(listener) = self.probes else { return Ok(()) };
                put(&format!("probes on http://{}", listener.local_addr()?));
                api::serve_probes(listener, &app, for_probes).await
            };
            tokio::try_join!(api::serve(self.all, &app, for_all), probes).map(|((), ())| ())
        })
    }
}

/// As many connections as the process may have files, after its own limit was raised as far as it may.
pub(crate) fn connections_max() -> usize {
    let wanted = Limits::default().connections_max;
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current != maximum {
        let raised = Rlimit { current: maximum, maximum };
        if let Err(error) = setrlimit(Resource::Nofile, raised) {
            tracing::warn!(%error, "the limit of open files cannot be raised");
        }
    }
    let files = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    let fitting = usize::try_from(files.saturating_sub(FILES_BESIDE)).unwrap_or(usize::MAX).clamp(1, wanted);
    if fitting < wanted {
        tracing::warn!(files, connections = fitting, "few files may be open, so there are fewer connections");
    }
    fitting
}
