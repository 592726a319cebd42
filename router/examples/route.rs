//! The router alone, for measuring: `route LISTEN THREADS HOST=ADDRESS...`, lines on stderr when `LINES` is set.

use router::{Backend, Config, Endpoint, Route, Router, Table};

const LINES: usize = 4096;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let usage = "usage: route LISTEN THREADS HOST=ADDRESS...";
    let config = Config {
        listen: arguments.next().ok_or(usage)?.parse()?,
        threads: arguments.next().ok_or(usage)?.parse()?,
        ..Config::default()
    };
    let table = Table::default();
    for pair in arguments {
        let (host, address) = pair.split_once('=').ok_or(usage)?;
        let endpoint = Endpoint {
            instance: "web.1".into(),
            address: address.parse()?,
        };
        let backend = Backend::Endpoints(vec![endpoint]);
        let app = host.into();
        table.set(host, Route { app, backend });
    }
    let (sender, mut lines) = tokio::sync::mpsc::channel(LINES);
    let router = Router::start(&config, table, sender)?;
    eprintln!("ready http={}", router.local_addr());
    let shown = std::env::var_os("LINES").is_some();
    while let Some(line) = lines.blocking_recv() {
        if shown {
            eprintln!("{} {}", line.app, line.text);
        }
    }
    Ok(())
}
