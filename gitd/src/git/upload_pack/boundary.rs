//! Where a client's history is to end: `deepen` and its kin (gitprotocol-pack, "shallow").

use std::collections::HashSet;

use gix_hash::ObjectId;

use super::UploadError;
use crate::git::{graph::Graph, packs::PackError};

/// What clients send for `--unshallow` (git's INFINITE_DEPTH).
pub(crate) const INFINITE: u32 = 0x7fff_ffff;

/// What the client asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Deepen {
    /// Commits of each history, the first one included.
    pub(crate) commits: Option<u32>,
    /// `commits` counts from the client's boundaries.
    pub(crate) relative: bool,
    /// Seconds since the Unix epoch.
    pub(crate) since: Option<i64>,
    /// Ref names, whose history is left out.
    pub(crate) not: Vec<String>,
}

/// How the boundaries of the client's clone change.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Boundary {
    pub(crate) shallow: Vec<ObjectId>,
    pub(crate) unshallow: Vec<ObjectId>,
}

/// `client`: its boundaries as they are. `not`: the commits of [`Deepen::not`].
pub(crate) fn boundary(
    graph: &mut Graph<'_>,
    wants: &[ObjectId],
    client: &[ObjectId],
    deepen: &Deepen,
    not: &[ObjectId],
) -> Result<Boundary, UploadError> {
    let ends = if deepen.since.is_some() || !deepen.not.is_empty() {
        by_list(graph, wants, deepen.since.unwrap_or(i64::MIN), not)?
    } else {
        match (deepen.commits.unwrap_or(INFINITE), deepen.relative) {
            (INFINITE, _) => by_depth(graph, wants.iter().chain(client), INFINITE)?,
            (commits, false) => by_depth(graph, wants, commits)?,
            (commits, true) => {
                let reached = graph.reach(wants.iter().copied(), |_| false)?;
                let from = client.iter().filter(|id| reached.contains(*id));
                by_depth(graph, from, commits.saturating_add(1))?
            }
        }
    };
    let old: HashSet<&ObjectId> = client.iter().collect();
    let Ends { at, before } = ends;
    Ok(Boundary {
        shallow: at.into_iter().filter(|id| !old.contains(id)).collect(),
        unshallow: client
            .iter()
            .filter(|id| before.contains(*id))
            .copied()
            .collect(),
    })
}

/// Commits that the history ends at, and the ones on the way there.
struct Ends {
    at: Vec<ObjectId>,
    before: HashSet<ObjectId>,
}

fn by_depth<'i>(
    graph: &mut Graph<'_>,
    from: impl IntoIterator<Item = &'i ObjectId>,
    commits: u32,
) -> Result<Ends, PackError> {
    let mut ends = Ends {
        at: Vec::new(),
        before: HashSet::new(),
    };
    let mut seen = HashSet::new();
    let mut level: Vec<ObjectId> = from.into_iter().copied().collect();
    let mut depth = 1;
    // Level by level, so that every commit is met at its least depth.
    while !level.is_empty() {
        let mut next = Vec::new();
        for id in level {
            if graph.commit(id)?.is_none() || !seen.insert(id) {
                continue;
            }
            if (commits != INFINITE && depth >= commits) || graph.is_cut(&id) {
                ends.at.push(id);
            } else {
                ends.before.insert(id);
                next.extend(graph.parents(id)?);
            }
        }
        level = next;
        depth += 1;
    }
    Ok(ends)
}

fn by_list(
    graph: &mut Graph<'_>,
    wants: &[ObjectId],
    since: i64,
    not: &[ObjectId],
) -> Result<Ends, UploadError> {
    let left_out = graph.reach(not.iter().copied(), |_| false)?;
    let mut selected = HashSet::new();
    let mut order = Vec::new();
    let mut next = wants.to_vec();
    while let Some(id) = next.pop() {
        let taken = graph.commit(id)?.is_some_and(|commit| commit.time >= since);
        if taken && !left_out.contains(&id) && selected.insert(id) {
            order.push(id);
            next.extend(graph.parents(id)?);
        }
    }
    if order.is_empty() {
        return Err(UploadError::NothingSelected);
    }
    let mut at = Vec::new();
    for id in order {
        let parents = graph.parents(id)?;
        if graph.is_cut(&id) || parents.iter().any(|parent| !selected.contains(parent)) {
            at.push(id);
        }
    }
    for id in &at {
        selected.remove(id);
    }
    Ok(Ends {
        at,
        before: selected,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::git::graph::tests::{graph, id};

    const LINE: &[(u8, &[u8])] = &[(1, &[]), (2, &[1]), (3, &[2]), (4, &[3]), (5, &[4])];

    fn ids(numbers: &[u8]) -> Vec<ObjectId> {
        numbers.iter().copied().map(id).collect()
    }

    fn check(wants: &[u8], client: &[u8], deepen: Deepen, shallow: &[u8], unshallow: &[u8]) {
        let not = ids(if deepen.not.is_empty() { &[] } else { &[2] });
        let found = boundary(&mut graph(LINE), &ids(wants), &ids(client), &deepen, &not);
        let expected = Boundary {
            shallow: ids(shallow),
            unshallow: ids(unshallow),
        };
        assert_eq!(
            found.expect("walks"),
            expected,
            "{wants:?} {client:?} {deepen:?}"
        );
    }

    #[test]
    fn depths() {
        let depth = |commits, relative| Deepen {
            commits: Some(commits),
            relative,
            ..Deepen::default()
        };
        check(&[5], &[], depth(1, false), &[5], &[]);
        check(&[5], &[], depth(2, false), &[4], &[]);
        check(&[5], &[5], depth(3, false), &[3], &[5]);
        check(&[5], &[3], depth(1, false), &[5], &[]);
        check(&[5], &[3], depth(3, false), &[], &[]);
        check(&[5], &[], depth(9, false), &[], &[]);
        check(&[5, 3], &[], depth(2, false), &[4, 2], &[]);
        check(&[5], &[4], depth(1, true), &[3], &[4]);
        check(&[5], &[4], depth(INFINITE, false), &[], &[4]);
        check(&[5], &[3], depth(INFINITE, true), &[], &[3]);
    }

    #[test]
    fn times_and_names() {
        let since = |time| Deepen {
            since: Some(time),
            ..Deepen::default()
        };
        check(&[5], &[], since(3), &[3], &[]);
        check(&[5], &[5], since(4), &[4], &[5]);
        let not = Deepen {
            not: vec!["refs/tags/old".to_owned()],
            ..Deepen::default()
        };
        check(&[5], &[], not, &[3], &[]);
        let nothing = boundary(&mut graph(LINE), &ids(&[5]), &[], &since(6), &[]);
        assert!(matches!(nothing, Err(UploadError::NothingSelected)));
    }

    #[test]
    fn what_is_cut_here_is_cut_there() {
        let mut graph = graph(LINE);
        graph.cut([id(3)]);
        let found = boundary(&mut graph, &ids(&[5]), &[], &Deepen::default(), &[]);
        assert_eq!(found.expect("walks").shallow, ids(&[3]));
    }
}
