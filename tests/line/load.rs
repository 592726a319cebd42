//! A steady load on one app, and what came of it.

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use crate::http::Client;

/// Between two requests of one client: with four clients, some hundred requests a second.
const PAUSE: Duration = Duration::from_millis(10);
const CLIENTS: usize = 4;

pub(crate) struct Load {
    stop: Arc<AtomicBool>,
    clients: Vec<JoinHandle<Tally>>,
}

#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) answered: usize,
    /// Everything that was not a whole answer with status 200.
    pub(crate) failures: Vec<String>,
}

impl Load {
    pub(crate) fn start(server: SocketAddr, host: &str) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let clients = (0..CLIENTS).map(|number| {
            let (stop, host) = (Arc::clone(&stop), host.to_owned());
            // Half of them connect anew for each request, as browsers of new visitors do.
            thread::spawn(move || ask_until(&stop, server, &host, number % 2 == 0))
        });
        let clients = clients.collect();
        Self { stop, clients }
    }

    pub(crate) fn stop(self) -> Tally {
        self.stop.store(true, Ordering::Relaxed);
        let mut sum = Tally::default();
        for client in self.clients {
            let tally = client.join().expect("a client does not panic");
            sum.answered += tally.answered;
            sum.failures.extend(tally.failures);
        }
        sum
    }
}

fn ask_until(stop: &AtomicBool, server: SocketAddr, host: &str, keep_alive: bool) -> Tally {
    let mut tally = Tally::default();
    let mut open = None;
    while !stop.load(Ordering::Relaxed) {
        match ask(&mut open, server, host) {
            Ok(()) => tally.answered += 1,
            Err(error) => tally.failures.push(error.to_string()),
        }
        if !keep_alive {
            open = None;
        }
        thread::sleep(PAUSE);
    }
    tally
}

fn ask(open: &mut Option<Client>, server: SocketAddr, host: &str) -> io::Result<()> {
    let mut client = match open.take() {
        Some(client) => client,
        None => Client::connect(server)?,
    };
    let answer = client.get(host, "/")?;
    if answer.status != 200 {
        return Err(io::Error::other(format!(
            "status {}: {}",
            answer.status, answer.body
        )));
    }
    if !answer.last {
        *open = Some(client);
    }
    Ok(())
}
