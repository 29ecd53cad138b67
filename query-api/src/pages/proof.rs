//! The way from an entry's leaf to the root that a checkpoint signs, as a page shows it and a browser checks it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use maud::{Markup, html};
use pedigraph_ledger::{Hash, LogId, Reader};

use crate::answer::error::Error;
use crate::pages::frame::table;

/// The proof of an entry under the newest checkpoint.
pub struct Path {
    index: u64,
    leaf_hash: String,
    leaf: String,
    /// Size of the checkpoint.
    size: u64,
    /// Witnesses that cosigned it.
    cosignatures: usize,
    root: String,
    hashes: Vec<Hash>,
}

/// The proof of an entry; `None` while no checkpoint covers it.
///
/// # Errors
/// What reading gives.
pub fn path_of(ledger: &Reader, log: &LogId, index: u64) -> Result<Option<Path>, Error> {
    let Some(checkpoint) = ledger.checkpoint(log).filter(|checkpoint| index < checkpoint.size) else { return Ok(None) };
    let Some(entry) = ledger.entry(log, index)? else { return Ok(None) };
    Ok(Some(Path {
        index,
        leaf_hash: entry.leaf_hash.to_string(),
        leaf: STANDARD.encode(&entry.leaf),
        size: checkpoint.size,
        cosignatures: checkpoint.cosignatures(),
        root: ledger.root_at(log, checkpoint.size)?.to_string(),
        hashes: ledger.inclusion(log, index, checkpoint.size)?,
    }))
}

/// On which side each hash of an inclusion proof stands (RFC 9162, 2.1.3.2), from the leaf up; `true` is left.
fn sides(index: u64, size: u64, hashes: usize) -> Vec<bool> {
    let (mut at, mut last, mut sides) = (index, size.saturating_sub(1), Vec::with_capacity(hashes));
    for _ in 0..hashes {
        let is_left = at % 2 == 1 || at == last;
        sides.push(is_left);
        while is_left && at % 2 == 0 && at > 0 {
            (at, last) = (at / 2, last / 2);
        }
        (at, last) = (at / 2, last / 2);
    }
    sides
}

/// The way, with what a browser needs to go it by itself.
pub fn section(path: Option<&Path>, index: u64, tenant: &str) -> Markup {
    html! {
        h2 id="proof" { "Proof" }
        @match path {
            None => p { "No checkpoint covers this entry yet; look again in a moment." },
            Some(path) => (way(path, tenant)),
        }
        p {
            @if path.is_some() {
                a href={ "/api/v1/entries/" (index) "/proof" } { "Inclusion proof" } " · "
                a href={ "/ledger/" (tenant) "/checkpoint" } { "Newest checkpoint" } " · "
            }
            a href={ "/ledger/" (tenant) "/vkey" } { "Verifier key" }
        }
        (commands(index))
    }
}

fn way(path: &Path, tenant: &str) -> Markup {
    let witnesses = match path.cosignatures {
        0 => "no witness cosigned it".to_owned(),
        1 => "one witness cosigned it".to_owned(),
        many => format!("{many} witnesses cosigned it"),
    };
    let hashes = path.hashes.iter().zip(sides(path.index, path.size, path.hashes.len()));
    let rows: Vec<Markup> = (1..).zip(hashes).map(|(n, (hash, left))| step(n, hash, left)).collect();
    html! {
        p {
            "The entry is in the checkpoint of size " (path.size) "; " (witnesses) ". From the leaf hash up, each step "
            "hashes the node so far together with its neighbour; the last one must be the root that the checkpoint signs."
        }
        div #way data-index=(path.index) data-tenant=(tenant) data-leaf=(path.leaf) data-leaf-hash=(path.leaf_hash) {
            p #verdict role="status" { "Not checked in this browser: that needs its scripts. The commands below check the same." }
            @if rows.is_empty() { p { "The log has one entry: its leaf hash is the root." } } @else {
                (table("Path", "From the leaf to the root", &["Step", "Neighbour", "Stands", "Comes to"], &rows))
            }
            dl { dt { "Leaf hash" } dd { code { (path.leaf_hash) } } dt { "Root" } dd { code #root { (path.root) } } }
        }
    }
}

fn step(number: usize, hash: &Hash, left: bool) -> Markup {
    html! {
        th scope="row" { (number) }
        td .mono.hash { (hash) }
        td { (if left { "left" } else { "right" }) }
        td .mono.hash data-step=(number) { "–" }
    }
}

fn commands(index: u64) -> Markup {
    html! {
        details {
            summary { "Check it without this server" }
            pre tabindex="0" { code {
                "pedigraph log proof " (index) " > proof\npedigraph log entry " (index) " > entry\n"
                "pedigraph log vkey > vkey      # once, by a way that you trust\n"
                "pedigraph verify --proof proof --entry entry --vkey vkey"
            } }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::sides;

    #[test]
    fn neighbours_stand_where_the_tree_has_them() {
        assert_eq!(sides(0, 1, 0), [false; 0]);
        assert_eq!(sides(0, 2, 1), [false]);
        assert_eq!(sides(1, 2, 1), [true]);
        // Of seven, the last stands alone on two levels.
        assert_eq!(sides(6, 7, 2), [true, true]);
        assert_eq!(sides(5, 7, 3), [true, false, true]);
        assert_eq!(sides(3, 7, 3), [true, true, false]);
    }
}
