//! How long it takes until an image can be run, from an OCI layout to a root that a sandbox can have; and how long when it has
//! been run before: `cargo run --release -p container --example ready -- LAYOUT STORE`, where STORE is a new folder.

use std::{
    error::Error,
    path::Path,
    time::{Duration, Instant},
};

use container::{
    Store,
    registry::{Client, Credentials},
    stack::{Base, ImageSource},
};

const ROUNDS: usize = 50;

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let (Some(layout), Some(folder)) = (args.next(), args.next()) else {
        return Err("ready LAYOUT STORE".into());
    };
    let folder = Path::new(&folder);
    let store = Store::open(&folder.join("store"))?;
    let client = Client::new(Credentials::none(), vec![]);
    let image = ImageSource::Layout(layout.into());
    let open = || -> Result<Duration, Box<dyn Error>> {
        let start = Instant::now();
        Base::open(&image, &client, &store, &folder.join("kept"), &|_| {})?;
        Ok(start.elapsed())
    };
    println!("first {}", milliseconds(open()?));
    for _ in 0..ROUNDS {
        println!("again {}", milliseconds(open()?));
    }
    Ok(())
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}
