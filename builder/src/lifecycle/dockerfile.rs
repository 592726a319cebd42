//! What an extension's Dockerfile asks for: enough of its grammar to tell whether it only chooses another base.

/// Docker's own name of the base in an extension's files.
const BASE_IMAGE: &str = "${base_image}";
/// Others are possible and not recommended (image-extension spec, "Dockerfiles").
const RECOMMENDED: &[&str] = &[
    "ADD", "ARG", "COPY", "ENV", "LABEL", "RUN", "SHELL", "USER", "WORKDIR",
];

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Dockerfile {
    /// The base that it names, unless that is the one it is given.
    pub(super) base: Option<String>,
    /// It changes the image.
    pub(super) extends: bool,
    /// Commands that are not recommended, with their lines.
    pub(super) odd: Vec<(usize, String)>,
}

impl Dockerfile {
    pub(super) fn of_run(text: &str) -> Result<Self, String> {
        let commands = commands(text);
        let mut file = Self::default();
        let mut stages = 0;
        for (line, command, rest) in &commands {
            match command.as_str() {
                "FROM" => {
                    stages += 1;
                    let base = rest.split_whitespace().next().unwrap_or_default();
                    file.base = Some(base.to_owned()).filter(|base| base != BASE_IMAGE);
                }
                // Before the first stage it is a parameter of FROM.
                "ARG" if stages == 0 => {}
                command => {
                    file.extends = true;
                    if !RECOMMENDED.contains(&command) {
                        file.odd.push((*line, command.to_owned()));
                    }
                }
            }
        }
        match stages {
            0 => Err("has no FROM".to_owned()),
            1 => Ok(file),
            _ => Err("has more than one FROM, and may have one".to_owned()),
        }
    }

    pub(super) fn check_build(text: &str) -> Result<(), String> {
        let commands = commands(text);
        let mut words = commands
            .iter()
            .map(|(_, command, rest)| (command.as_str(), rest.as_str()));
        if !matches!(words.next(), Some(("ARG", rest)) if rest.split('=').next() == Some("base_image"))
        {
            return Err("does not begin with `ARG base_image`".to_owned());
        }
        let stages: Vec<&str> = words
            .filter(|(command, _)| *command == "FROM")
            .map(|(_, rest)| rest)
            .collect();
        match stages[..] {
            [one] if one.split_whitespace().next() == Some(BASE_IMAGE) => Ok(()),
            [_, _, ..] => Err("has more than one FROM, and may have one".to_owned()),
            _ => Err(format!("has no `FROM {BASE_IMAGE}`")),
        }
    }
}

/// Line, name and rest of each; a `\` at its end joins a line to the next.
fn commands(text: &str) -> Vec<(usize, String, String)> {
    let mut commands = Vec::new();
    let mut joined: Option<(usize, String)> = None;
    for (number, line) in (1..).zip(text.lines()) {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (start, mut whole) = joined.take().unwrap_or((number, String::new()));
        whole.push_str(line.trim_end_matches('\\'));
        if line.ends_with('\\') {
            joined = Some((start, whole));
            continue;
        }
        let (name, rest) = whole
            .split_once(char::is_whitespace)
            .unwrap_or((&whole, ""));
        commands.push((start, name.to_ascii_uppercase(), rest.trim().to_owned()));
    }
    commands
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_dockerfile_chooses_a_base_or_changes_it() {
        for (text, base, extends) in [
            ("FROM run:2", Some("run:2"), false),
            ("# a\nfrom  run:2 as x\n", Some("run:2"), false),
            (
                "ARG base_image\nFROM ${base_image}\nRUN a \\\n  b",
                None,
                true,
            ),
            ("ARG base_image\nFROM ${base_image}", None, false),
            ("FROM run\nRUN x", Some("run"), true),
        ] {
            let file = Dockerfile::of_run(text).unwrap();
            assert_eq!(
                (file.base.as_deref(), file.extends),
                (base, extends),
                "{text}"
            );
            assert!(file.odd.is_empty());
        }
        let odd = Dockerfile::of_run("FROM a\n\nEXPOSE 80").unwrap().odd;
        assert_eq!(odd, [(3, "EXPOSE".to_owned())]);
        assert!(Dockerfile::of_run("RUN x").is_err());
        assert!(Dockerfile::of_run("FROM a\nFROM b").is_err());
    }

    #[test]
    fn a_build_dockerfile_begins_with_its_base() {
        for (text, expected) in [
            ("ARG base_image\nFROM ${base_image}\nRUN x", true),
            ("ARG base_image=x\nFROM ${base_image}", true),
            ("FROM ${base_image}", false),
            ("ARG base_image\nFROM other", false),
            ("ARG base_image\nFROM ${base_image}\nFROM b", false),
            ("", false),
        ] {
            assert_eq!(Dockerfile::check_build(text).is_ok(), expected, "{text}");
        }
    }
}
