//! One service that runs in very many places: it takes no answer away from the others.

use pedigraph_projector::answers::ServiceState;
use pedigraph_projector::{Compared, EnvironmentSide, LANES_PER_SERVICE_MAX, RUNNING_MAX, Scope};
use pedigraph_proto::Event;
use pedigraph_proto::event::{ServiceDeployed, ServiceRemoved};

use crate::world::{Sent, World, scope};
use crate::{BEGIN, SECOND, digest};

fn deployed(environment: &str, service: &str, namespace: usize, version: usize) -> Event {
    let namespace = format!("n{namespace:06}");
    ServiceDeployed {
        environment: environment.into(),
        service: service.into(),
        namespace,
        artifact_ref: format!("r.io/{service}:{version}"),
        artifact_digest: digest(0, version),
        ..ServiceDeployed::default()
    }
    .into()
}

fn removed(environment: &str, service: &str, namespace: usize) -> Event {
    let namespace = format!("n{namespace:06}");
    ServiceRemoved { environment: environment.into(), service: service.into(), namespace, ..Default::default() }.into()
}

fn service<'s>(services: &'s [ServiceState], name: &str) -> &'s ServiceState {
    services.iter().find(|service| service.service == name).expect("it runs")
}

/// What is listed, how many more, and whether there may be others.
fn told(service: &ServiceState) -> (usize, u64, bool) {
    (service.running.len(), service.running_cut, service.running_at_least)
}

fn check_lists(scope: &Scope) {
    let (many, beyond) = (RUNNING_MAX + 50, LANES_PER_SERVICE_MAX - RUNNING_MAX);
    let (environment, next) = scope.environment_page("prod", false, None, 10).expect("readable").expect("named");
    assert_eq!((environment.services.len(), next), (4, None));
    assert_eq!(told(service(&environment.services, "a-fleet")), (RUNNING_MAX, beyond as u64, true));
    assert_eq!(told(service(&environment.services, "b-many")), (RUNNING_MAX, 50, false));
    assert_eq!(told(service(&environment.services, "c-moved")), (0, 0, true), "one runs beyond those looked at");
    assert_eq!(told(service(&environment.services, "d-one")), (1, 0, false));
    let listed = &service(&environment.services, "b-many").running;
    assert!(listed.is_sorted_by_key(|run| run.namespace.clone()), "the first by place");
    let here = scope.service_here("prod", "a-fleet", 1).expect("readable").expect("named");
    assert_eq!(told(&here.service.state), (RUNNING_MAX, beyond as u64, true));
    assert_eq!((here.lanes.len(), here.lanes_at_least), (20, true));
    let anywhere = scope.service_anywhere("b-many", false, None, 10).expect("readable").expect("named").rows;
    let counts: Vec<_> = anywhere.iter().map(|here| (here.environment.as_str(), told(&here.state))).collect();
    assert_eq!(counts, [("prod", (RUNNING_MAX, 50, false)), ("test", (RUNNING_MAX, 50, false))]);
    let whole = scope.environment("prod", false).expect("readable").expect("named");
    assert_eq!(service(&whole.services, "b-many").running.len(), many, "what names a place sees all of them");
}

#[test]
fn a_service_in_very_many_places_is_listed_in_part_and_compared_as_a_whole() {
    let many = RUNNING_MAX + 50;
    let mut events: Vec<Event> =
        (0..=LANES_PER_SERVICE_MAX).map(|namespace| deployed("prod", "a-fleet", namespace, 1)).collect();
    for environment in ["prod", "test"] {
        events.extend((0..many).map(|namespace| deployed(environment, "b-many", namespace, 1)));
    }
    events.push(deployed("test", "b-many", many - 1, 2));
    events.extend((0..LANES_PER_SERVICE_MAX).map(|namespace| removed("prod", "c-moved", namespace)));
    events.push(deployed("prod", "c-moved", LANES_PER_SERVICE_MAX, 1));
    events.push(deployed("prod", "d-one", 0, 1));
    let mut world = World::new();
    let entry = |(n, events): (usize, &[Event])| {
        let time = BEGIN + i64::try_from(n).expect("few") * SECOND;
        Sent { time, id: n.to_string(), events: events.to_vec() }
    };
    world.append(&events.chunks(500).enumerate().map(entry).collect::<Vec<_>>());
    let views = world.views();
    check_lists(&scope(&views, None, None));
    check_lists(&scope(&views, Some(BEGIN + 3_600 * SECOND), None));
    let side = |name: &str| EnvironmentSide { environment: name.into(), at: None };
    let all = scope(&views, None, None);
    let (diff, _) =
        all.environment_diff((&side("prod"), &side("test")), false, None, 10).expect("readable").expect("named");
    let compared = diff.services.iter().find(|service| service.service == "b-many").expect("compared");
    assert_eq!((compared.from.len(), compared.from_cut, compared.to_cut), (RUNNING_MAX, 50, 50));
    assert_eq!(compared.state, Compared::Different, "by what is not listed");
}
