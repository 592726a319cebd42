//! What the processes of a sandbox use of memory, for people to read: limits are kept elsewhere.

use std::fs;

use super::tree;

/// Bytes that are theirs alone: not files, not what they share with others. `None`: it has ended.
pub(crate) fn used(init: u32) -> Option<u64> {
    let pages: u64 = tree::below(init)
        .ok()?
        .into_iter()
        .filter_map(own_pages)
        .sum();
    Some(pages * rustix::param::page_size() as u64)
}

/// Resident without shared (proc_pid_statm(5)).
fn own_pages(pid: u32) -> Option<u64> {
    let statm = fs::read_to_string(format!("/proc/{pid}/statm")).ok()?;
    let mut fields = statm
        .split(' ')
        .skip(1)
        .map_while(|field| field.parse::<u64>().ok());
    let (resident, shared) = (fields.next()?, fields.next()?);
    Some(resident.saturating_sub(shared))
}
