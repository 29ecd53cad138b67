//! The requests of one connection, one at a time.

use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::http::{HeaderValue, Request, Response, header};
use hyper::body::{Frame, Incoming, SizeHint};
use hyper::service::Service;
use hyper_util::service::TowerToHyperService;

use crate::serve::flow::{Answering, Flow};
use crate::serve::places::Kind;
use crate::serve::request_body::{RequestBody, watched};

/// Who is at the other end; among the extensions of a request that came over a socket.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Peer(pub(crate) IpAddr);

/// All places are taken: this connection is answered probes alone. Among the extensions of its requests.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ProbesOnly;

/// The service of one connection.
pub(crate) struct Conversation {
    service: TowerToHyperService<Router>,
    flow: Arc<Flow>,
    peer: Peer,
    kind: Kind,
}

impl Conversation {
    /// With the routes behind it.
    pub(crate) fn new(service: TowerToHyperService<Router>, flow: Arc<Flow>, peer: Peer, kind: Kind) -> Conversation {
        Conversation { service, flow, peer, kind }
    }
}

type Answer<E> = Pin<Box<dyn Future<Output = Result<Response<Tracked>, E>> + Send>>;

impl Service<Request<Incoming>> for Conversation {
    type Response = Response<Tracked>;
    type Error = <TowerToHyperService<Router> as Service<Request<RequestBody>>>::Error;
    type Future = Answer<Self::Error>;

    fn call(&self, mut request: Request<Incoming>) -> Self::Future {
        let answering = self.flow.answering();
        request.extensions_mut().insert(self.peer);
        if self.kind == Kind::Probes {
            request.extensions_mut().insert(ProbesOnly);
        }
        let (service, flow, kind) = (self.service.clone(), Arc::clone(&self.flow), self.kind);
        Box::pin(async move {
            flow.taken().await;
            let (request, left) = watched(request);
            let mut response = service.call(request).await?;
            let another_may_follow = left.read().await;
            // The few places beyond the limit are for one answer each.
            if kind == Kind::Probes || !another_may_follow {
                response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
            }
            Ok(response.map(|body| Tracked { body, _answering: answering }))
        })
    }
}

/// An answer's body; its end is the answer's.
pub(crate) struct Tracked {
    body: Body,
    _answering: Answering,
}

impl hyper::body::Body for Tracked {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
