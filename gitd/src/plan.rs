//! `git push -o plan`: what a deploy of this image would change, in words.

use std::collections::BTreeMap;

use builder::{Description, Layer};
use release::{AppName, Release};

use crate::{output::shell_quoted, quantity::show_bytes, story::Story};

/// Lines of one section; a plan is read by people.
const LINES_MAX: usize = 60;

/// What is compared line by line: names and what they stand for.
type Things = BTreeMap<String, String>;

/// `before`: the image of the current release, if it has one.
pub(crate) fn tell(
    story: &Story,
    app: &AppName,
    current: Option<&Release>,
    before: Option<&Description>,
    after: &Description,
) {
    match current.filter(|_| before.is_some()) {
        Some(release) => story.step(&format!(
            "What would change in {app} against {}",
            release.number
        )),
        None => story.step(&format!("What would be deployed; {app} runs nothing yet")),
    }
    let nothing = Description::default();
    let before = before.unwrap_or(&nothing);
    for (title, lines) in sections(before, after) {
        section(story, &title, &lines);
    }
    story.detail(&config_line(current));
    story.detail(&image_line(before, after));
}

fn section(story: &Story, title: &str, lines: &[String]) {
    story.detail(title);
    for line in lines.iter().take(LINES_MAX) {
        story.detail(&format!("  {line}"));
    }
    if let Some(more @ 1..) = lines.len().checked_sub(LINES_MAX) {
        story.detail(&format!("  ... and {more} more"));
    }
}

/// Title and lines.
fn sections(before: &Description, after: &Description) -> Vec<(String, Vec<String>)> {
    let mut sections = vec![
        compared("Buildpacks", &before.buildpacks, &after.buildpacks),
        compared("Process types", &processes(before), &processes(after)),
        compared(
            "Image environment",
            &environment(before),
            &environment(after),
        ),
        layers(before, after),
    ];
    if !(before.packages.is_empty() && after.packages.is_empty()) {
        sections.push(compared(
            "Packages (SBOM)",
            &packages(before),
            &packages(after),
        ));
    }
    sections
}

fn compared(title: &str, before: &Things, after: &Things) -> (String, Vec<String>) {
    let lines = changes(before, after);
    match (lines.len(), after.len()) {
        (0, 0) => (format!("{title}: none"), lines),
        (0, count) => (format!("{title}: {count}, unchanged"), lines),
        _ => (format!("{title}:"), lines),
    }
}

/// `+` is new, `-` goes, `~` changes; by name.
fn changes(before: &Things, after: &Things) -> Vec<String> {
    let mut names: Vec<&String> = before.keys().chain(after.keys()).collect();
    names.sort();
    names.dedup();
    let line = |name: &String| match (before.get(name), after.get(name)) {
        (None, Some(new)) => Some(format!("+ {name} {new}")),
        (Some(old), None) => Some(format!("- {name} {old}")),
        (Some(old), Some(new)) if old != new => Some(format!("~ {name} {old} -> {new}")),
        _ => None,
    };
    let lines = names.into_iter().filter_map(line);
    lines.map(|line| line.trim_end().to_owned()).collect()
}

fn processes(image: &Description) -> Things {
    let mut processes = Things::new();
    for process in &image.processes {
        let default = match image.default.as_ref() == Some(&process.kind) {
            true => " (default)",
            false => "",
        };
        let words = process.command.iter().chain(&process.args);
        let words: Vec<String> = words.map(|word| as_typed(word)).collect();
        let words = words.join(" ");
        processes.insert(format!("{}:", process.kind), format!("{words}{default}"));
    }
    processes
}

fn as_typed(word: &str) -> String {
    match word.is_empty() || word.contains(char::is_whitespace) {
        true => shell_quoted(word),
        false => word.to_owned(),
    }
}

fn environment(image: &Description) -> Things {
    let pairs = image.env.iter().filter_map(|line| line.split_once('='));
    pairs
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

fn packages(image: &Description) -> Things {
    let versions = |versions: &std::collections::BTreeSet<String>| {
        versions
            .iter()
            .map(String::as_str)
            .collect::<Vec<_>>()
            .join(", ")
    };
    let packages = image.packages.iter();
    packages
        .map(|(name, of)| (name.clone(), versions(of)))
        .collect()
}

/// All of them, with their sizes: `=` is there already.
fn layers(before: &Description, after: &Description) -> (String, Vec<String>) {
    let had = |layer: &Layer| before.layers.iter().any(|old| old.diff_id == layer.diff_id);
    let named = |in_layers: &[Layer], name: &str| in_layers.iter().any(|layer| layer.name == name);
    let mut lines: Vec<String> = after
        .layers
        .iter()
        .map(|layer| {
            let mark = match (had(layer), named(&before.layers, &layer.name)) {
                (true, _) => '=',
                (false, true) => '~',
                (false, false) => '+',
            };
            format!("{mark} {} {}", layer.name, show_bytes(layer.bytes))
        })
        .collect();
    let gone = before
        .layers
        .iter()
        .filter(|old| !named(&after.layers, &old.name));
    lines.extend(gone.map(|layer| format!("- {} {}", layer.name, show_bytes(layer.bytes))));
    let new: Vec<&Layer> = after.layers.iter().filter(|layer| !had(layer)).collect();
    let bytes = new.iter().map(|layer| layer.bytes).sum();
    let title = format!(
        "Layers: {} of {} new, {}",
        new.len(),
        after.layers.len(),
        show_bytes(bytes)
    );
    (title, lines)
}

/// Names only. A deploy takes the config vars as they are.
fn config_line(current: Option<&Release>) -> String {
    let Some(release) = current.filter(|release| !release.config.is_empty()) else {
        return "Config vars: none".to_owned();
    };
    let names: Vec<String> = release.config.keys().map(ToString::to_string).collect();
    format!(
        "Config vars: {}, as in {}",
        names.join(", "),
        release.number
    )
}

fn image_line(before: &Description, after: &Description) -> String {
    let total = |image: &Description| image.layers.iter().map(|layer| layer.bytes).sum::<u64>();
    match total(before) {
        0 => format!("Image size: {}", show_bytes(total(after))),
        old => format!(
            "Image size: {} -> {}",
            show_bytes(old),
            show_bytes(total(after))
        ),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use builder::Process;
    use container::Digest;

    use super::*;

    fn layer(name: &str, content: &str, bytes: u64) -> Layer {
        Layer {
            name: name.to_owned(),
            diff_id: Digest::of(content.as_bytes()),
            bytes,
        }
    }

    fn process(kind: &str, command: &str) -> Process {
        Process {
            kind: kind.to_owned(),
            command: vec![command.to_owned()],
            args: vec!["-x".to_owned(), "a b".to_owned()],
        }
    }

    fn image(version: &str, command: &str, package: &str) -> Description {
        let versions = BTreeSet::from([version.to_owned()]);
        Description {
            buildpacks: BTreeMap::from([("acme/node".to_owned(), version.to_owned())]),
            layers: vec![
                layer("acme/node:modules", "same", 2 << 20),
                layer("Application Layer", command, 900),
            ],
            processes: vec![process("web", command)],
            default: Some("web".to_owned()),
            env: vec!["PATH=/usr/bin".to_owned()],
            packages: BTreeMap::from([(package.to_owned(), versions)]),
        }
    }

    fn text(before: &Description, after: &Description) -> String {
        let lines = sections(before, after)
            .into_iter()
            .flat_map(|(title, lines)| {
                [title]
                    .into_iter()
                    .chain(lines.into_iter().map(|line| format!("  {line}")))
            });
        lines.map(|line| format!("{line}\n")).collect()
    }

    #[test]
    fn every_kind_of_change_is_told() {
        let (old, new) = (
            image("1.0", "server", "left-pad"),
            image("1.1", "index", "right-pad"),
        );
        assert_eq!(
            text(&old, &new),
            "Buildpacks:\n  ~ acme/node 1.0 -> 1.1\nProcess types:\n  ~ web: server -x 'a b' (default) -> index -x 'a b' (default)\n\
             Image environment: 1, unchanged\nLayers: 1 of 2 new, 900 B\n  = acme/node:modules 2 MiB\n  \
             ~ Application Layer 900 B\nPackages (SBOM):\n  - left-pad 1.0\n  + right-pad 1.1\n"
        );
        assert_eq!(image_line(&old, &new), "Image size: 2.0 MiB -> 2.0 MiB");
    }

    #[test]
    fn nothing_is_told_as_unchanged_and_everything_as_new() {
        let one = image("1.0", "server", "left-pad");
        let same = text(&one, &one);
        assert!(
            !same.contains(['+', '-', '~']) || same.contains("  = "),
            "{same}"
        );
        assert!(same.contains("Layers: 0 of 2 new, 0 B"), "{same}");
        let first = text(&Description::default(), &one);
        assert!(first.contains("  + acme/node 1.0\n"), "{first}");
        assert!(
            first.contains("  + web: server -x 'a b' (default)\n"),
            "{first}"
        );
        assert!(first.contains("  + left-pad 1.0\n"), "{first}");
        assert_eq!(
            image_line(&Description::default(), &one),
            "Image size: 2.0 MiB"
        );
    }
}
