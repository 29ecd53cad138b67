//! The HTTP side over a real ledger and real views in a temporary directory: what goes in through the ledger's writer
//! is asked for through the router, or through a socket where the connection itself matters.

#[path = "http/access.rs"]
mod access;
#[path = "http/artifacts.rs"]
mod artifacts;
#[path = "http/budgets.rs"]
mod budgets;
#[path = "http/compressed.rs"]
mod compressed;
#[path = "http/deltas.rs"]
mod deltas;
#[path = "http/environments_compared.rs"]
mod environments_compared;
#[path = "http/events.rs"]
mod events;
#[path = "http/evidence_pack.rs"]
mod evidence_pack;
#[path = "http/failing.rs"]
mod failing;
#[path = "http/kept.rs"]
mod kept;
#[path = "http/ledger.rs"]
mod ledger;
#[path = "http/overviews.rs"]
mod overviews;
#[path = "http/packs.rs"]
mod packs;
#[path = "http/pages.rs"]
mod pages;
#[path = "http/pinned.rs"]
mod pinned;
#[path = "http/reads.rs"]
mod reads;
#[path = "http/service.rs"]
mod service;
#[path = "http/serving.rs"]
mod serving;
#[path = "http/sessions.rs"]
mod sessions;
#[path = "http/streams.rs"]
mod streams;
#[path = "http/versions.rs"]
mod versions;
#[path = "http/vulnerabilities.rs"]
mod vulnerabilities;
#[path = "http/world.rs"]
mod world;
