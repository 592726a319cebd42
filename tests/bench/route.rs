//! The router alone, for the bench: `route LISTEN HOST=ADDRESS`, one thread. Runs until it is killed.

use std::{env, error::Error};

use router::{Backend, Config, Endpoint, Route, Router, Table};

/// As many lines as a busy second has; more are dropped and counted, as in `slipway`.
const LOG_LINES: usize = 1024;

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = env::args().skip(1);
    let (Some(listen), Some(route)) = (args.next(), args.next()) else {
        return Err("usage: route LISTEN HOST=ADDRESS".into());
    };
    let (host, address) = route.split_once('=').ok_or("a route is HOST=ADDRESS")?;
    let table = Table::default();
    let endpoint = Endpoint {
        instance: "web.1".to_owned(),
        address: address.parse()?,
    };
    table.set(
        host,
        Route {
            app: "bench".to_owned(),
            backend: Backend::Endpoints(vec![endpoint]),
        },
    );
    let config = Config {
        listen: listen.parse()?,
        threads: 1,
        ..Config::default()
    };
    let (log, mut lines) = tokio::sync::mpsc::channel(LOG_LINES);
    let _router = Router::start(&config, table, log)?;
    // Lines are made, and thrown away here: keeping them is the release manager's part. They never end.
    while lines.blocking_recv().is_some() {}
    Ok(())
}
