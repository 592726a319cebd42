//! Switching from one set of endpoints to another without losing a request.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
        mpsc,
    },
    time::Duration,
};

use router::Timeouts;

use crate::world::{App, DEADLINE, World, get, ok, until};

fn drained(world: &World, app: &App, wait_max: Duration) -> bool {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .expect("a runtime");
    runtime.block_on(world.table.drained(&app.endpoint, wait_max))
}

#[test]
fn drained_waits_for_the_request_in_flight_and_closes_the_idle() {
    let world = World::on_threads(2, Timeouts::default());
    let (release, wait) = mpsc::channel::<()>();
    let wait = Arc::new(Mutex::new(wait));
    let closed = Arc::new(AtomicUsize::new(0));
    let old = App::new({
        let closed = Arc::clone(&closed);
        move |mut peer| {
            while let Some(request) = peer.request() {
                if request.head.starts_with("GET /slow ") {
                    peer.send("HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nhalf");
                    wait.lock()
                        .expect("a lock")
                        .recv_timeout(DEADLINE)
                        .expect("released");
                    peer.send("half");
                } else {
                    peer.send(ok("old"));
                }
            }
            closed.fetch_add(1, SeqCst);
        }
    });
    let new = App::answering(|_| ok("new"));
    world.route(&[&old.endpoint]);
    // Idle connections in the pools of both threads, most likely.
    for _ in 0..10 {
        assert_eq!(world.ask(&get("/")).text(), "old");
    }
    let mut client = world.client();
    client.send(get("/slow"));
    assert_eq!(client.take(4), b"HTTP");
    world.route(&[&new.endpoint]);
    assert_eq!(world.ask(&get("/")).text(), "new");
    assert!(!drained(&world, &old, Duration::from_millis(100)));
    until("the idle connections to end", || {
        closed.load(SeqCst) + 1 == old.connections()
    });
    release.send(()).expect("the endpoint waits");
    assert!(drained(&world, &old, DEADLINE));
    assert!(String::from_utf8(client.response().body).is_ok_and(|body| body == "halfhalf"));
    until("the last connection to end", || {
        closed.load(SeqCst) == old.connections()
    });
    // The client's own connection stays, and meets the new endpoint.
    client.send(get("/"));
    assert_eq!(client.response().text(), "new");
}

#[test]
fn a_client_that_left_does_not_hold_up_a_drain() {
    let world = World::new();
    let app = App::new(|mut peer| {
        peer.request();
        peer.rest();
    });
    world.route(&[&app.endpoint]);
    let mut client = world.client();
    client.send(get("/"));
    until("a request", || app.connections() == 1);
    drop(client);
    world.table.remove(crate::world::HOST);
    assert!(drained(&world, &app, DEADLINE));
}

/// Every switch here is a whole one: new endpoint, switch, drain, old endpoint gone.
#[test]
fn a_thousand_switches_under_load_lose_nothing() {
    const CLIENTS: usize = 4;
    const SWITCHES: usize = 1000;
    let mut world = World::on_threads(2, Timeouts::default());
    let mut app = generation(0);
    world.route(&[&app.endpoint]);
    let stop = Arc::new(AtomicBool::new(false));
    let clients: Vec<_> = (0..CLIENTS)
        .map(|number| {
            let (stop, mut client) = (Arc::clone(&stop), world.client());
            std::thread::spawn(move || {
                let mut served = 0;
                while !stop.load(SeqCst) {
                    // POST as well: it would not be sent twice.
                    client.send(if number % 2 == 0 {
                        get("/")
                    } else {
                        crate::world::post("x")
                    });
                    let response = client.response();
                    assert_eq!(
                        response.status(),
                        200,
                        "{}{}",
                        response.head,
                        response.text()
                    );
                    served += 1;
                }
                served
            })
        })
        .collect();
    for number in 1..=SWITCHES {
        let next = generation(number);
        world.route(&[&next.endpoint]);
        assert!(drained(&world, &app, DEADLINE), "switch {number}");
        app = next;
    }
    stop.store(true, SeqCst);
    let served: usize = clients
        .into_iter()
        .map(|client| client.join().expect("no failure"))
        .sum();
    assert!(
        served > SWITCHES,
        "{served} requests met {SWITCHES} switches"
    );
    for _ in 0..served {
        let line = world.line();
        assert!(line.starts_with("at=info "), "{line}");
    }
}

fn generation(number: usize) -> App {
    App::answering(move |_| ok(&number.to_string()))
}
