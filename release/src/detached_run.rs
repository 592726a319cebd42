//! A one-off process that nobody waits for: what it prints goes to the app's log.

use std::sync::Arc;

use container::Process;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader},
    net::unix::pipe,
    task::spawn_blocking,
};

use crate::{
    DeployError, RunOptions,
    error::{StartError, how},
    launch::Launch,
    one_off::{self, LINE_BYTES_MAX},
    rollout::World,
    runs::RunTurn,
};

/// Returns its name when it runs.
pub(crate) async fn run(
    world: &Arc<World>,
    launch: &Arc<Launch>,
    words: Vec<String>,
    options: &RunOptions,
    turn: RunTurn,
) -> Result<String, DeployError> {
    let (output, stdio) = one_off::output_pipe().map_err(|source| DeployError::Start {
        instance: turn.name.clone(),
        source: StartError::Output(source),
    })?;
    let (name, process) = one_off::run(world, launch, words, options, stdio, turn).await?;
    let (world, app, of) = (Arc::clone(world), launch.app_id, name.clone());
    tokio::spawn(async move {
        if let Err(error) = keep_output(&world, app, &of, output).await {
            tracing::warn!(%error, name = of, "cannot read what a one-off process prints");
        }
        let text = ended(process).await;
        world.logs.run_state(app, &of, &text);
    });
    Ok(name)
}

/// To its end. A log that is slow to write slows the process down.
async fn keep_output(
    world: &World,
    app: i64,
    name: &str,
    output: pipe::Receiver,
) -> std::io::Result<()> {
    let mut output = BufReader::new(output);
    loop {
        let mut line = Vec::new();
        let mut limited = (&mut output).take(LINE_BYTES_MAX);
        if limited.read_until(b'\n', &mut line).await? == 0 {
            return Ok(());
        }
        let text = String::from_utf8_lossy(&line);
        world
            .logs
            .run_output(app, name, text.trim_end_matches('\n'));
    }
}

async fn ended(process: Process) -> String {
    match spawn_blocking(move || process.wait()).await {
        Ok(Ok(exit)) => format!("Process {}", how(&exit)),
        _ => "Process ended".to_owned(),
    }
}
