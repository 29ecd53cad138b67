//! Who has a connection. When all places are taken, who makes the server wait goes for who comes; nobody is left
//! waiting for ever, and probes have places of their own.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::limits::Limits;
use crate::metrics::{Closed, Metrics};
use crate::serve::flow::Flow;

/// Connections beyond the limit that are answered probes alone, so that a server which is full says so.
pub(crate) const PROBES_MAX: usize = 64;
/// How long a client must have let the server wait before its place goes to another.
const PATIENCE: Duration = Duration::from_secs(1);

/// What a place is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    /// Any request.
    Any,
    /// Probes and metrics; everything else is told that the server is full.
    Probes,
}

/// The places of all connections.
pub(crate) struct Places {
    any_max: usize,
    by_address_max: usize,
    patience: Duration,
    metrics: Arc<Metrics>,
    taken: Mutex<Taken>,
}

#[derive(Default)]
struct Taken {
    next: u64,
    seats: BTreeMap<u64, Seat>,
}

struct Seat {
    kind: Kind,
    address: IpAddr,
    flow: Arc<Flow>,
}

/// A place, given back when it is dropped.
pub(crate) struct Place {
    places: Arc<Places>,
    number: u64,
    pub(crate) kind: Kind,
    pub(crate) flow: Arc<Flow>,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.places.taken().remove(self.number);
        self.places.metrics.connections.dec();
    }
}

impl Places {
    /// All free.
    pub(crate) fn new(limits: &Limits, metrics: Arc<Metrics>) -> Arc<Places> {
        let (any_max, by_address_max) = (limits.connections_max, limits.connections_per_address_max);
        Arc::new(Places { any_max, by_address_max, patience: PATIENCE, metrics, taken: Mutex::default() })
    }

    fn taken(&self) -> std::sync::MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place for a connection from an address; `None` when there is none, not even for a probe.
    pub(crate) fn take(self: &Arc<Places>, from: IpAddr) -> Option<Place> {
        let address = network_of(from);
        let mut taken = self.taken();
        let kind = self.find(&mut taken, address);
        if kind.is_none() {
            self.metrics.closed(Closed::Full);
        }
        let (kind, flow) = (kind?, Flow::new());
        let number = taken.add(Seat { kind, address, flow: Arc::clone(&flow) });
        self.metrics.connections.inc();
        Some(Place { places: Arc::clone(self), number, kind, flow })
    }

    fn find(&self, taken: &mut Taken, address: IpAddr) -> Option<Kind> {
        // A proxy on this machine brings everybody's connections.
        let counted = !address.is_loopback();
        if counted && taken.count(|seat| seat.address == address) >= self.by_address_max {
            return self.evict(taken, |seat| seat.address == address && seat.kind == Kind::Any).then_some(Kind::Any);
        }
        if taken.count(|seat| seat.kind == Kind::Any) < self.any_max || self.evict(taken, |seat| seat.kind == Kind::Any)
        {
            return Some(Kind::Any);
        }
        let free = taken.count(|seat| seat.kind == Kind::Probes) < PROBES_MAX;
        (free || self.evict(taken, |seat| seat.kind == Kind::Probes)).then_some(Kind::Probes)
    }

    /// Ends the connection that has let the server wait longest, first of those that take no bytes. Whether there was
    /// one.
    fn evict(&self, taken: &mut Taken, among: impl Fn(&Seat) -> bool) -> bool {
        let waited = |seat: &Seat| seat.flow.waited().filter(|(_, waited)| *waited >= self.patience);
        let all = taken.seats.iter().filter(|(_, seat)| among(seat));
        let all = all.filter_map(|(number, seat)| Some((waited(seat)?, *number)));
        let Some((_, number)) = all.max_by_key(|(waited, _)| *waited) else { return false };
        if let Some(seat) = taken.remove(number) {
            seat.flow.end();
        }
        self.metrics.closed(Closed::Displaced);
        true
    }

    /// Ends every connection.
    pub(crate) fn end_all(&self) {
        self.taken().seats.values().for_each(|seat| seat.flow.end());
    }
}

impl Taken {
    fn add(&mut self, seat: Seat) -> u64 {
        let number = self.next;
        self.next += 1;
        self.seats.insert(number, seat);
        number
    }

    fn remove(&mut self, number: u64) -> Option<Seat> {
        self.seats.remove(&number)
    }

    fn count(&self, which: impl Fn(&Seat) -> bool) -> usize {
        self.seats.values().filter(|seat| which(seat)).count()
    }
}

/// Whose address it is: of IPv6 everybody has 2^64.
pub(crate) fn network_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(own) if !own.is_loopback() => IpAddr::V6((u128::from(own) >> 64 << 64).into()),
        own @ (IpAddr::V4(_) | IpAddr::V6(_)) => own,
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    /// With a patience that has no end until it is over.
    fn places(any_max: usize, by_address_max: usize) -> Places {
        let metrics = Arc::new(Metrics::new());
        Places { any_max, by_address_max, patience: Duration::MAX, metrics, taken: Mutex::default() }
    }

    fn impatient(places: Arc<Places>) -> Arc<Places> {
        let taken = std::mem::take(&mut *places.taken());
        let Places { any_max, by_address_max, .. } = *places;
        let metrics = Arc::clone(&places.metrics);
        Arc::new(Places { any_max, by_address_max, patience: Duration::ZERO, metrics, taken: Mutex::new(taken) })
    }

    fn kind(place: Option<&Place>) -> Option<Kind> {
        place.map(|place| place.kind)
    }

    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    fn is_ended(place: &Place) -> bool {
        place.flow.ended().now_or_never().is_some()
    }

    #[test]
    fn who_makes_the_server_wait_goes_first_and_probes_have_places_beyond() {
        let patient = Arc::new(places(3, 3));
        let all: Vec<_> = (0..3).filter_map(|_| patient.take(HERE)).collect();
        let _busy = all[0].flow.answering();
        let _stuck = all[1].flow.answering();
        all[1].flow.stuck();
        let late = patient.take(HERE);
        assert_eq!(kind(late.as_ref()), Some(Kind::Probes), "nobody has waited long yet");
        drop(late);
        let places = impatient(patient);
        let mut first = Vec::from_iter(places.take(HERE));
        let answering = first[0].flow.answering();
        assert!(is_ended(&all[1]) && !is_ended(&all[2]));
        first.extend(places.take(HERE));
        let also_answering = first[1].flow.answering();
        assert!(is_ended(&all[2]) && !is_ended(&all[0]));
        assert!(first.iter().all(|place| place.kind == Kind::Any));
        let probes: Vec<_> = (0..PROBES_MAX).filter_map(|_| places.take(HERE)).collect();
        let busy: Vec<_> = probes.iter().map(|probe| probe.flow.answering()).collect();
        assert!(busy.len() == PROBES_MAX && probes.iter().all(|probe| probe.kind == Kind::Probes));
        assert!(places.take(HERE).is_none());
        drop((answering, also_answering, first));
        assert_eq!(kind(places.take(HERE).as_ref()), Some(Kind::Any));
    }

    #[test]
    fn one_address_has_a_share_and_loopback_all() {
        let patient = Arc::new(places(10, 2));
        let v6 = |last: u16| IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, last]);
        let held: Vec<_> = [1, 2].map(v6).into_iter().filter_map(|from| patient.take(from)).collect();
        assert!(held.len() == 2 && patient.take(v6(3)).is_none());
        let other = patient.take(IpAddr::from([0x2001, 0xdb8, 0, 1, 0, 0, 0, 1]));
        assert_eq!(kind(other.as_ref()), Some(Kind::Any));
        let here: Vec<_> = (0..7).map(|_| patient.take(HERE)).collect();
        assert!(here.iter().all(|place| kind(place.as_ref()) == Some(Kind::Any)));
        let places = impatient(patient);
        assert!(places.take(v6(3)).is_some(), "its own idle one goes");
        assert!(held.iter().filter(|place| is_ended(place)).count() == 1);
    }
}
