//! `gc`: gives disk space back.

use clap::Args;
use release::IMAGES_KEPT;

use super::Env;
use crate::{errors::Failure, quantity::show_bytes};

/// Remove images that no app can be rolled back to, and what only they have
///
/// This happens every hour by itself; type it after a change that frees much, or with a smaller --keep.
#[derive(Args)]
pub(super) struct Gc {
    /// Images of each app that can be rolled back to, the current one among them
    #[arg(long, value_name = "N", default_value_t = IMAGES_KEPT, value_parser = keep)]
    keep: usize,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

fn keep(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) => Err("the current image is always kept: 1 is the least".to_owned()),
        Ok(keep) => Ok(keep),
        Err(_) => Err("not a number".to_owned()),
    }
}

impl Gc {
    pub(super) async fn run(self, env: &mut Env<'_>) -> Result<(), Failure> {
        let apps = env.ctx.apps.clone();
        let collected = tokio::task::spawn_blocking(move || apps.collect_garbage(self.keep))
            .await
            .map_err(Failure::ours)??;
        if self.json {
            let shown = serde_json::json!({
                "images": collected.images,
                "layers": collected.layers,
                "bytes": collected.bytes,
            });
            return env.print_json(&shown).await;
        }
        let text = format!(
            "Removed {} images and {} layers: {}\n",
            collected.images,
            collected.layers,
            show_bytes(collected.bytes)
        );
        env.print(&text).await;
        Ok(())
    }
}
