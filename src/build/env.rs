//! Variables for the buildpacks: those of project.toml, under those of files, under those of the command line.

use std::{collections::BTreeMap, error::Error, fs, path::PathBuf};

#[derive(clap::Args)]
pub(super) struct Given {
    /// A variable for the buildpacks; without a value, the one of this shell; may be repeated
    #[arg(short, long, value_name = "NAME[=VALUE]")]
    env: Vec<String>,
    /// A file of such variables, one a line, as `docker run --env-file` reads it; may be repeated
    #[arg(long, value_name = "FILE")]
    env_file: Vec<PathBuf>,
}

type Vars = BTreeMap<String, String>;

impl Given {
    pub(super) fn over(&self, mut vars: Vars) -> Result<Vars, Box<dyn Error>> {
        let ours = |name: &str| std::env::var(name).ok();
        for path in &self.env_file {
            let shown = path.display();
            let text = fs::read_to_string(path);
            let text = text.map_err(|error| format!("cannot read {shown}: {error}"))?;
            for (number, line) in (1..).zip(text.lines()) {
                // Never what stands there: it may be a secret.
                add(&mut vars, line, ours)
                    .map_err(|why| format!("{shown}, line {number}, {why}"))?;
            }
        }
        for pair in &self.env {
            add(&mut vars, pair, ours).map_err(|why| format!("an --env {why}"))?;
        }
        Ok(vars)
    }
}

/// Blank lines and comments are nothing; a value is everything behind the first `=`.
fn add(
    vars: &mut Vars,
    line: &str,
    ours: impl Fn(&str) -> Option<String>,
) -> Result<(), &'static str> {
    let line = line.trim_start();
    if line.is_empty() || line.starts_with('#') {
        return Ok(());
    }
    let (name, value) = match line.split_once('=') {
        Some((name, value)) => (name, Some(value.to_owned())),
        None => (line.trim_end(), ours(line.trim_end())),
    };
    if name.is_empty() || name.contains(char::is_whitespace) {
        return Err("is not NAME=VALUE");
    }
    // Not set here: not set there.
    vars.extend(value.map(|value| (name.to_owned(), value)));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_as_docker_reads_them() {
        let mut vars = Vars::from([("OLD".to_owned(), "old".to_owned())]);
        let ours = |name: &str| (name == "HERE").then(|| "ours".to_owned());
        for line in [
            "",
            "  # A=1",
            "A=b=c d ",
            "  B=",
            "OLD='new'",
            "HERE",
            "GONE",
            "HASH=#1",
        ] {
            add(&mut vars, line, ours).unwrap();
        }
        let vars: Vec<_> = vars.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
        assert_eq!(
            vars,
            [
                ("A", "b=c d "),
                ("B", ""),
                ("HASH", "#1"),
                ("HERE", "ours"),
                ("OLD", "'new'")
            ]
        );
    }

    #[test]
    fn what_is_no_variable_is_told_without_its_words() {
        for line in ["=s3cret", "a s3cret", "A B=s3cret"] {
            let error = add(&mut Vars::new(), line, |_| None).unwrap_err();
            assert_eq!(error, "is not NAME=VALUE", "{line}");
        }
    }
}
