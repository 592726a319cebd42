//! How the app is started, when there is no Procfile.

use libcnb::data::{
    launch::{Process, ProcessBuilder},
    process_type,
};

use super::{
    app::{App, MAIN_FILES},
    manager::Manager,
};
use crate::print;

/// The web process, or none when nothing says what to start.
pub(super) fn web(app: &App, manager: &Option<Manager>) -> Option<Process> {
    print::step("Finding the start command");
    let main_files: Vec<&str> = MAIN_FILES
        .into_iter()
        .filter(|name| app.dir.join(name).is_file())
        .collect();
    let main = app
        .manifest
        .as_ref()
        .and_then(|manifest| manifest.main())
        .filter(|main| app.dir.join(main).exists());
    let start = match (app.script("start"), manager) {
        (Some(script), Some(manager)) => {
            let has_hooks = app.script("prestart").or(app.script("poststart")).is_some();
            Some(by_script(script, has_hooks, manager.kind.name()))
        }
        _ => by_file(&main_files, main),
    };
    match start {
        Some(command) => {
            print::detail(&format!("web -> {}", command.join(" ")));
            let web = ProcessBuilder::new(process_type!("web"), command)
                .default(true)
                .build();
            Some(web)
        }
        None => {
            print::warning(
                "Nothing says what to start: no Procfile, no `start` script in package.json,\n\
                 no server.js, no index.js. Nothing will serve HTTP.",
            );
            None
        }
    }
}

/// A plain `node file arguments` is started as it is: npm in between would take 40 MB and keep signals to itself.
fn by_script(script: &str, has_hooks: bool, manager: &str) -> Vec<String> {
    let is_plain = |word: &str| {
        word.bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"._-/=:,@+%".contains(&byte))
    };
    let words: Vec<&str> = script.split_whitespace().collect();
    match words.as_slice() {
        ["node", _, ..] if !has_hooks && words.iter().all(|word| is_plain(word)) => {
            words.iter().map(|word| (*word).to_owned()).collect()
        }
        _ => vec![manager.to_owned(), "start".to_owned()],
    }
}

fn by_file(main_files: &[&str], main: Option<&str>) -> Option<Vec<String>> {
    let file = main_files.first().copied().or(main)?;
    Some(vec!["node".to_owned(), file.to_owned()])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_plain_node_command_skips_the_package_manager() {
        for (script, direct) in [
            ("node server.js", true),
            ("node --max-old-space-size=256 dist/main.js --port=1", true),
            ("node  .", true),
            ("node", false),
            ("next start", false),
            ("PORT=1 node a.js", false),
            ("node a.js && node b.js", false),
            ("node a.js $PORT", false),
            ("node 'a b.js'", false),
            ("node a.js;", false),
            ("node *.js", false),
            ("node ~/a.js", false),
        ] {
            let command = by_script(script, false, "npm");
            match direct {
                true => assert_eq!(command, script.split_whitespace().collect::<Vec<_>>()),
                false => assert_eq!(command, ["npm", "start"], "{script}"),
            }
        }
        assert_eq!(by_script("node a.js", true, "yarn"), ["yarn", "start"]);
    }

    #[test]
    fn without_a_script_a_file_is_started() {
        let command = |files: &[&str], main| by_file(files, main).map(|words| words.join(" "));
        assert_eq!(
            command(&["server.js", "index.js"], None).as_deref(),
            Some("node server.js")
        );
        assert_eq!(
            command(&["index.js"], Some("x.js")).as_deref(),
            Some("node index.js")
        );
        assert_eq!(
            command(&[], Some("src/x.js")).as_deref(),
            Some("node src/x.js")
        );
        assert_eq!(command(&[], None), None);
    }
}
