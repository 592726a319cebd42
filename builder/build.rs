//! Builds the launcher, a program without a standard library that is part of every image, so that it can be embedded.

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
};

/// No start files, no C library, one fixed address: the kernel maps it and it runs.
const FLAGS: &[&str] = &[
    "-Clink-arg=-nostartfiles",
    "-Clink-arg=-nostdlib",
    "-Clink-arg=-static",
    "-Clink-arg=-Wl,--build-id=none,-z,noseparate-code",
    "-Ctarget-feature=+crt-static",
    "-Crelocation-model=static",
];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let launcher = Path::new(&env::var("CARGO_MANIFEST_DIR")?).join("../launcher");
    println!("cargo::rerun-if-changed={}", launcher.display());
    println!("cargo::rerun-if-changed=build.rs");
    let target = env::var("TARGET")?;
    // A folder of its own: the other one is locked while we run.
    let out = PathBuf::from(env::var("OUT_DIR")?).join("launcher");
    let status = Command::new(env::var("CARGO")?)
        .args(["build", "--quiet", "--locked", "--bin", "launcher"])
        .args(["--features", "freestanding", "--profile", "launcher"])
        .arg("--manifest-path")
        .arg(launcher.join("Cargo.toml"))
        .arg("--target-dir")
        .arg(&out)
        .args(["--target", &target])
        .env("CARGO_ENCODED_RUSTFLAGS", FLAGS.join("\x1f"))
        // Of `cargo clippy`, and of coverage tools: the program is not theirs.
        .env_remove("RUSTC_WORKSPACE_WRAPPER")
        .env_remove("RUSTC_WRAPPER")
        .status()?;
    if !status.success() {
        return Err(format!("the launcher cannot be built: {status}").into());
    }
    let program = out.join(target).join("launcher/launcher");
    println!("cargo::rustc-env=LAUNCHER={}", program.display());
    Ok(())
}
