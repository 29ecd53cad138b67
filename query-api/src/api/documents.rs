//! `POST /api/v1/documents`: one large document, streamed to a file on its way to the processor.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, Uri};
use axum::response::Response;
use pedigraph_proto::message;
use tokio::fs::{File, OpenOptions};
use tokio::io::AsyncWriteExt as _;
use uuid::Uuid;

use crate::access::scope::{Access, TokenScope};
use crate::api::events::{Beside, check_media};
use crate::api::{body, events, receipt};
use crate::app::{App, SPOOL_PREFIX};
use crate::problem::{Code, Problem};
use crate::route::Routes;
use crate::tenant::Tenant;

/// Its routes.
pub fn routes() -> Routes {
    Routes::new().post("/api/v1/documents", Access::Needs(TokenScope::EventsWrite), post)
}

async fn post(
    State(app): State<App>,
    Tenant(tenant): Tenant,
    uri: Uri,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let beside = Beside::of(&uri)?;
    check_media(&headers)?;
    body::check_length(&headers, app.limits().document_bytes_max)?;
    receipt::open(&app)?;
    let Some(place) = app.share(&app.documents, &tenant) else {
        return Err(Problem::new(Code::Overloaded, "too many documents at once; try again").retry_after(5));
    };
    let spooled = Spooled::receive(&app, body).await?;
    let file = message::Body::File { path: spooled.path.clone(), size: spooled.size };
    let message = events::message(tenant, uri.path(), &headers, &beside, file);
    receipt::submit(&app, message, beside.wait_visible(), (spooled, place)).await
}

/// A document in the spool directory. The processor removes it when the message is done; dropping this removes what is
/// left, so a client that goes away half-way leaves nothing behind.
struct Spooled {
    path: PathBuf,
    size: u64,
}

impl Spooled {
    async fn receive(app: &App, body: Body) -> Result<Spooled, Problem> {
        let path = app.config.spool_dir.join(format!("{SPOOL_PREFIX}{}", Uuid::new_v4()));
        let failed = |error: std::io::Error| {
            if matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded) {
                receipt::no_room()
            } else {
                Problem::internal("a document cannot be spooled", &error)
            }
        };
        let mut file = create(&path).await.map_err(failed)?;
        let mut spooled = Spooled { path, size: 0 };
        let mut parts = body::Parts::new(app, body);
        while let Some(part) = parts.next().await? {
            spooled.size += part.len() as u64;
            if spooled.size > app.limits().document_bytes_max {
                return Err(body::too_large(app.limits().document_bytes_max));
            }
            file.write_all(&part).await.map_err(failed)?;
        }
        file.flush().await.map_err(failed)?;
        Ok(spooled)
    }
}

impl Drop for Spooled {
    fn drop(&mut self) {
        match std::fs::remove_file(&self.path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                tracing::warn!(%error, "a spooled document cannot be removed");
            }
            Ok(()) | Err(_) => {}
        }
    }
}

async fn create(path: &Path) -> std::io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    options.mode(0o600);
    options.open(path).await
}
