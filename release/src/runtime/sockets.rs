//! Which ports the processes of a sandbox listen on, from /proc.

use std::{
    collections::{BTreeSet, HashSet},
    fs, io,
};

use super::tree;

/// TCP_LISTEN, in /proc/net/tcp's hexadecimal.
const LISTEN: &str = "0A";

/// In order. `init` is the sandbox's pid 1 in our pid namespace.
pub(crate) fn listening(init: u32) -> io::Result<BTreeSet<u16>> {
    let sockets = sockets_of_tree(init)?;
    let tables = ["tcp", "tcp6"].map(|table| format!("/proc/{init}/net/{table}"));
    let listeners = tables
        .iter()
        .filter_map(|table| fs::read_to_string(table).ok())
        .flat_map(|table| listeners(&table));
    let ours = listeners.filter(|(_, inode)| sockets.contains(inode));
    Ok(ours.map(|(port, _)| port).collect())
}

/// (port, inode) of each listening socket (proc_pid_net(5)).
fn listeners(table: &str) -> Vec<(u16, u64)> {
    let parse = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let port = fields.get(1)?.rsplit_once(':')?.1;
        (*fields.get(3)? == LISTEN).then_some(())?;
        Some((
            u16::from_str_radix(port, 16).ok()?,
            fields.get(9)?.parse().ok()?,
        ))
    };
    table.lines().filter_map(parse).collect()
}

fn sockets_of_tree(init: u32) -> io::Result<HashSet<u64>> {
    let pids = tree::below(init)?;
    Ok(pids.into_iter().flat_map(sockets_of).collect())
}

fn sockets_of(pid: u32) -> Vec<u64> {
    let files = fs::read_dir(format!("/proc/{pid}/fd"))
        .into_iter()
        .flatten();
    let socket = |target: std::path::PathBuf| {
        let name = target.to_str()?.strip_prefix("socket:[")?;
        name.strip_suffix(']')?.parse().ok()
    };
    files
        .flatten()
        .filter_map(|file| socket(fs::read_link(file.path()).ok()?))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_listening_sockets_count() {
        let table = "\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 123456 1 0000000000000000 100 0 0 10 0
   1: 0100007F:1F90 0100007F:9C40 01 00000000:00000000 00:00000000 00000000  1000        0 123457 1 0000000000000000 20 0 0 10 -1
   2: 00000000000000000000000001000000:0BB8 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000 1000 0 99 1 0
nonsense";
        assert_eq!(listeners(table), [(8080, 123_456), (3000, 99)]);
    }

    #[test]
    fn the_listener_of_a_grandchild_is_found() {
        use std::process::{Command, Stdio};
        let script = "python3 -c 'import socket, sys; s = socket.create_server((\"127.0.0.1\", 0)); print(s.getsockname()[1], flush=True); sys.stdin.read()' <&0 & wait";
        let script = format!("bash -c {}; true", quoted(script));
        let mut child = Command::new("bash")
            .args(["-c", &script])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        io::BufRead::read_line(
            &mut io::BufReader::new(child.stdout.take().unwrap()),
            &mut line,
        )
        .unwrap();
        let ports = listening(std::process::id()).unwrap();
        // At the end of its input the program ends, and the shells with it.
        drop(child.stdin.take());
        assert!(child.wait().unwrap().success());
        assert!(
            ports.contains(&line.trim().parse().unwrap()),
            "{line} {ports:?}"
        );
    }

    fn quoted(script: &str) -> String {
        format!("'{}'", script.replace('\'', r"'\''"))
    }
}
