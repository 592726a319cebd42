//! `slipway up`: everything on this machine, as one process.

use std::{
    error::Error,
    fs,
    net::SocketAddr,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use builder::Builder;
use container::{
    Limits, Spawner, Stack, Store,
    limits::Enforcement,
    network::Network,
    registry::{Client, Credentials},
};
use gitd::{Context, Server, Settings};
use release::{Apps, Config};
use router::{Router, Table};
use tokio::sync::mpsc;

use crate::{admin, rest, stack};

const MIB: u64 = 1024 * 1024;
pub(crate) const BUILD_LIMITS: Limits = Limits {
    memory_bytes: Some(2048 * MIB),
    cpu_milli: None,
    processes: Some(2048),
};
/// Heroku's smallest dyno.
const INSTANCE_LIMITS: Limits = Limits {
    memory_bytes: Some(512 * MIB),
    cpu_milli: None,
    processes: Some(256),
};
/// Heroku's since 2026.
pub(crate) const BUILD_TIME_MAX: Duration = Duration::from_secs(15 * 60);
const BOOT_TIMEOUT: Duration = Duration::from_secs(60);
const STOP_GRACE: Duration = Duration::from_secs(30);
const DRAIN_MAX: Duration = Duration::from_secs(30);
/// Requests in flight when slipway itself is stopped.
const ROUTER_GRACE: Duration = Duration::from_secs(10);
const TIDY_EVERY: Duration = Duration::from_secs(60 * 60);
/// Request lines on their way to the logs.
const LINES_MAX: usize = 16 * 1024;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Where everything is kept; $XDG_STATE_HOME/slipway when absent
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Where git and ssh clients connect
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:2222")]
    ssh: SocketAddr,
    /// Where apps are served
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8080")]
    http: SocketAddr,
    /// Apps are served as APP.DOMAIN
    #[arg(long, default_value = "localhost")]
    domain: String,
    /// Public keys that administer; ~/.ssh/*.pub when absent
    #[arg(long, value_name = "FILE")]
    admin_key: Vec<PathBuf>,
    /// Certificate authority whose OpenSSH user certificates are taken; a principal names a user
    #[arg(long, value_name = "FILE")]
    user_ca: Vec<PathBuf>,
    /// Networks whose failed logins are not punished, such as an office's or a load balancer's
    #[arg(long, value_name = "NETWORK", default_values = ["127.0.0.0/8", "::1"])]
    ssh_exempt: Vec<Network>,
    /// Seconds of silence after which a client is asked for a sign of life; after four without one it is lost
    #[arg(long, value_name = "SECONDS", default_value_t = 15, value_parser = clap::value_parser!(u64).range(1..=3600))]
    ssh_keepalive: u64,
    #[command(flatten)]
    stack: stack::Choice,
    /// Refuse pushes to apps that do not exist, instead of creating them
    #[arg(long)]
    no_create: bool,
    /// A network, such as 10.0.0.0/8, that buildpacks are fetched from besides the public internet; may be repeated
    #[arg(long, value_name = "NET")]
    fetch_from: Vec<Network>,
    /// The largest pack that a push may bring
    #[arg(long, value_name = "SIZE", default_value = "512M", value_parser = pack_size)]
    max_pack_size: u64,
}

pub(crate) fn run(args: Args) -> Result<(), Box<dyn Error>> {
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_env_filter(
            tracing_subscriber::EnvFilter::try_from_default_env().unwrap_or_else(|_| "warn".into()),
        )
        .init();
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?
        .block_on(serve(args))
}

async fn serve(args: Args) -> Result<(), Box<dyn Error>> {
    let data = args.data.clone().map_or_else(data_default, Ok)?;
    make_private(&data)?;
    let data = data.canonicalize()?;
    let spawner = Arc::new(Spawner::start(Path::new("/proc/self/exe"))?);
    let table = Table::default();
    let (lines, lines_kept) = mpsc::channel(LINES_MAX);
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let config = router::Config {
        listen: args.http,
        threads,
        ..router::Config::default()
    };
    let router = Router::start(&config, table.clone(), lines)
        .map_err(|error| format!("cannot listen on {}: {error}", args.http))?;
    let policy = gitd::ssh::Policy {
        exempt: args.ssh_exempt.clone(),
        ..Default::default()
    };
    let server = Server::bind(args.ssh, data.join("host_keys"))
        .await?
        .with_policy(policy)
        .with_keepalive(Duration::from_secs(args.ssh_keepalive));

    let store = Store::open(&data.join("store"))?;
    // Nothing else goes on yet that would have to wait for it.
    let client = Client::new(Credentials::from_environment()?, vec![]);
    let stack::Opened { stack, buildpacks } =
        tokio::task::block_in_place(|| args.stack.open(&client, &store, &data))?;
    let apps = Apps::start(Config {
        data: data.clone(),
        store: store.clone(),
        spawner: spawner.clone(),
        stack: stack.clone(),
        routes: table,
        domain: args.domain.clone(),
        boot_timeout: BOOT_TIMEOUT,
        stop_grace: STOP_GRACE,
        drain_max: DRAIN_MAX,
        instance_limits: INSTANCE_LIMITS,
    })
    .await?;
    let made_key = admin::add_keys(apps.ledger(), &args.admin_key, &data)?;
    admin::add_authorities(apps.ledger(), &args.user_ca)?;
    let builder = builder(&data, store, spawner.clone(), stack, buildpacks)?;
    let settings = Settings {
        data: data.clone(),
        domain: args.domain.clone(),
        http_port: router.local_addr().port(),
        ssh_port: server.local_addr()?.port(),
        create_on_push: !args.no_create,
        fetch_from: args.fetch_from,
        limits: gitd::git::Limits {
            pack_bytes: args.max_pack_size,
            ..gitd::git::Limits::default()
        },
        deploy_branches: vec!["main".to_owned(), "master".to_owned()],
    };
    let context = Arc::new(Context::new(settings, apps.clone(), Arc::new(builder))?);
    context
        .settle()
        .map_err(|error| -> Box<dyn Error> { error })?;

    let (ssh, http) = (server.local_addr()?, router.local_addr());
    narrate(&spawner, &server, &context, made_key.as_deref());
    println!(
        "ready ssh={ssh} http={http} domain={} data={}",
        args.domain,
        data.display()
    );
    let kept = tokio::spawn({
        let apps = apps.clone();
        async move { apps.keep_router_log(lines_kept).await }
    });
    let tidying = tokio::spawn(tidy(apps.clone(), Arc::clone(&context)));
    let resting = tokio::spawn(rest::when_idle());
    let stopped = async {
        stop().await;
        context.stop_deploys();
    };
    server.serve(Arc::new(Arc::clone(&context)), stopped).await;
    context.deploys_ended().await;
    tidying.abort();
    resting.abort();
    router.shutdown(ROUTER_GRACE).await;
    // Its senders are gone with the router.
    _ = kept.await;
    apps.shutdown().await;
    Ok(())
}

/// Gives back, now and then, what no release needs any more.
async fn tidy(apps: Arc<Apps>, context: Arc<Context>) {
    loop {
        // First the wait: at a start there is more urgent work.
        tokio::time::sleep(TIDY_EVERY).await;
        let (apps, context) = (apps.clone(), context.clone());
        let collect = move || {
            context.remove_old_failed_builds();
            apps.collect_garbage(release::IMAGES_KEPT)
        };
        if let Ok(Err(error)) = tokio::task::spawn_blocking(collect).await {
            tracing::error!(error = gitd::chain(&error), "cannot tidy the content store");
        }
    }
}

fn builder(
    data: &Path,
    store: Store,
    spawner: Arc<Spawner>,
    stack: Stack,
    of_stack: Option<PathBuf>,
) -> Result<Builder, Box<dyn Error>> {
    let lifecycle = data.join("lifecycle");
    let buildpacks = of_stack.unwrap_or_else(|| data.join("buildpacks"));
    builder::install_lifecycle(&std::env::current_exe()?, &lifecycle)?;
    // Beside those of a builder image, whose order stays.
    buildpacks::install(&buildpacks, Path::new("/cnb/lifecycle/slipway"))?;
    let builder = Builder {
        store,
        spawner,
        stack,
        buildpacks,
        lifecycle,
        limits: BUILD_LIMITS,
        wall_time_max: BUILD_TIME_MAX,
    };
    if builder.stack.id != container::stack::HOST {
        builder.try_stack()?;
    }
    Ok(builder)
}

/// What runs, what is not enforced here, and what to type next.
fn narrate(spawner: &Spawner, server: &Server, context: &Context, made_key: Option<&Path>) {
    let can = spawner.capabilities();
    for (what, how) in [
        ("memory", can.memory),
        ("processor", can.cpu),
        ("process", can.processes),
    ] {
        if how == Enforcement::None {
            eprintln!("       This machine does not let us enforce {what} limits.");
        }
    }
    if can.network == Enforcement::None {
        eprintln!("       Builds and instances share this machine's network.");
    }
    for fingerprint in server.fingerprints() {
        eprintln!("       Host key {fingerprint}");
    }
    let Settings {
        domain, ssh_port, ..
    } = &context.settings;
    let (git, ssh) = match made_key {
        Some(key) => {
            let identity = format!("ssh -i {} -o IdentitiesOnly=yes", key.display());
            (format!("GIT_SSH_COMMAND=\"{identity}\" git"), identity)
        }
        None => ("git".to_owned(), "ssh".to_owned()),
    };
    eprintln!("-----> Slipway is up. In an app's git folder, type:");
    eprintln!("       {git} push ssh://git@{domain}:{ssh_port}/hello main");
    eprintln!("-----> To administer it:");
    eprintln!("       {ssh} -p {ssh_port} git@{domain} help");
}

fn pack_size(text: &str) -> Result<u64, &'static str> {
    gitd::bytes(text).ok_or("a size is a number with K, M, G or T behind it, as 512M")
}

pub(crate) fn data_default() -> Result<PathBuf, Box<dyn Error>> {
    let state = std::env::var_os("XDG_STATE_HOME")
        .filter(|dir| !dir.is_empty())
        .map(PathBuf::from);
    let state = state.or_else(|| Some(std::env::home_dir()?.join(".local/state")));
    Ok(state
        .ok_or("there is no home folder; name one with --data DIR")?
        .join("slipway"))
}

/// For its owner alone: it holds config vars and keys.
fn make_private(dir: &Path) -> Result<(), Box<dyn Error>> {
    let made = fs::create_dir_all(dir)
        .and_then(|()| fs::set_permissions(dir, fs::Permissions::from_mode(0o700)));
    made.map_err(|error| format!("cannot make {}: {error}", dir.display()).into())
}

/// Ctrl-C or SIGTERM.
async fn stop() {
    let terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate());
    let Ok(mut terminate) = terminate else {
        // Without it Ctrl-C still works.
        _ = tokio::signal::ctrl_c().await;
        return;
    };
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        _ = terminate.recv() => {}
    }
}
