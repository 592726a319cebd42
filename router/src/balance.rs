//! Which endpoint takes the request: the less busy of two taken at random.

use std::sync::Arc;

use crate::endpoint::EndpointState;

/// Requests in flight that one endpoint may have on average before its route answers H11 (Heroku's figure).
const IN_FLIGHT_MAX: usize = 200;

/// The route has as many requests in flight as it may.
pub(crate) fn is_full(endpoints: &[Arc<EndpointState>]) -> bool {
    let in_flight: usize = endpoints.iter().map(|state| state.in_flight()).sum();
    in_flight >= IN_FLIGHT_MAX * endpoints.len()
}

/// Chooses among those not in `tried`, and not in quarantine while there are others; `random` decides.
pub(crate) fn choose<'a>(
    endpoints: &'a [Arc<EndpointState>],
    tried: &[Arc<EndpointState>],
    random: u64,
) -> Option<&'a Arc<EndpointState>> {
    let untried = |state: &&Arc<EndpointState>| !tried.iter().any(|t| Arc::ptr_eq(t, state));
    let well = |state: &&Arc<EndpointState>| untried(state) && !state.is_quarantined();
    less_busy(endpoints.iter().filter(well), random)
        .or_else(|| less_busy(endpoints.iter().filter(untried), random))
}

fn less_busy<'a>(
    candidates: impl Iterator<Item = &'a Arc<EndpointState>> + Clone,
    random: u64,
) -> Option<&'a Arc<EndpointState>> {
    let count = candidates.clone().count();
    if count < 2 {
        return candidates.last();
    }
    // Two different places out of `count`; both remainders fit a usize because `count` does.
    let first = ((random & 0xffff_ffff) % count as u64) as usize;
    let second = (first + 1 + ((random >> 32) % (count as u64 - 1)) as usize) % count;
    let a = candidates.clone().nth(first)?;
    let b = candidates.clone().nth(second)?;
    Some(if b.in_flight() < a.in_flight() { b } else { a })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Endpoint;

    fn endpoints(count: u16) -> Vec<Arc<EndpointState>> {
        let endpoint = |port| Endpoint {
            instance: "web.1".into(),
            address: ([127, 0, 0, 1], port).into(),
        };
        (0..count)
            .map(|port| Arc::new(EndpointState::new(endpoint(port))))
            .collect()
    }

    #[test]
    fn of_two_the_less_busy_is_taken() {
        let two = endpoints(2);
        let _busy = two[0].lease();
        for random in [0, 1, u64::MAX, 0xdead_beef_0000_0001] {
            let chosen = choose(&two, &[], random).expect("one");
            assert!(Arc::ptr_eq(chosen, &two[1]), "{random:#x}");
        }
    }

    #[test]
    fn quarantine_is_avoided_but_better_than_nothing() {
        let two = endpoints(2);
        two[1].quarantine();
        assert!(Arc::ptr_eq(choose(&two, &[], 1).expect("one"), &two[0]));
        let tried = [Arc::clone(&two[0])];
        assert!(Arc::ptr_eq(choose(&two, &tried, 1).expect("one"), &two[1]));
        assert!(choose(&two, &two, 1).is_none());
    }

    #[test]
    fn full_at_two_hundred_each() {
        let two = endpoints(2);
        let leases: Vec<_> = (0..399).map(|i| two[i % 2].lease()).collect();
        assert!(!is_full(&two));
        let _last = two[0].lease();
        assert!(is_full(&two));
        drop(leases);
    }
}
