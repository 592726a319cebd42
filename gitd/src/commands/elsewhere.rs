//! What users of Heroku, Dokku and plain ssh type first, and what does the same here.

/// A command or a topic of others, and what to type instead.
const WORDS: &[(&str, &str)] = &[
    ("deploy", "Push with git: git push <remote> main"),
    (
        "git:remote",
        "On your machine; apps:info APP shows the address: git remote add slipway <address>",
    ),
    ("open", "apps:info APP shows where it is served"),
    ("auth", "Your key says who you are: whoami, keys"),
    ("login", "Your key says who you are: whoami, keys"),
    ("config:pull", "config:export APP > .env"),
    ("config:push", "config:import APP < .env"),
    ("config:bundle", "config:export APP > .env"),
    ("ps:type", "limits:set APP [TYPE] cpu=0.5 memory=512M"),
    ("ps:resize", "limits:set APP [TYPE] cpu=0.5 memory=512M"),
    (
        "ps:wait",
        "Nothing to wait for: what changes an app returns when it serves",
    ),
    ("ps:inspect", "ps APP --json"),
    ("resource", "limits:set APP [TYPE] cpu=0.5 memory=512M"),
    ("healthchecks", "checks:set APP path=/healthz"),
    (
        "repo:purge-cache",
        "Push with a build from nothing: git push -o no-cache <remote> main",
    ),
    ("run:stop", "ps:stop APP run.1234"),
    ("run:logs", "logs APP -p run.1234"),
    ("run:inside", "run APP COMMAND"),
    (
        "certs",
        "There is no TLS yet: put a proxy that has it in front",
    ),
    (
        "tls",
        "There is no TLS yet: put a proxy that has it in front",
    ),
    (
        "letsencrypt",
        "There is no TLS yet: put a proxy that has it in front",
    ),
    (
        "proxy",
        "The router is part of the platform: domains, maintenance",
    ),
    (
        "nginx",
        "The router is part of the platform: domains, maintenance",
    ),
    (
        "ports",
        "An app listens on $PORT, the router on the platform's port: domains",
    ),
    (
        "addons",
        "There are no add-ons yet; say where yours is: config:set APP DATABASE_URL=...",
    ),
    (
        "pg",
        "There are no add-ons yet; say where yours is: config:set APP DATABASE_URL=...",
    ),
    (
        "postgres",
        "There are no add-ons yet; say where yours is: config:set APP DATABASE_URL=...",
    ),
    (
        "redis",
        "There are no add-ons yet; say where yours is: config:set APP REDIS_URL=...",
    ),
    (
        "drains",
        "There are no log drains yet; to follow: logs APP -t",
    ),
    (
        "pipelines",
        "Another app of the same release: apps:clone APP NAME",
    ),
    (
        "cron",
        "There are no scheduled jobs yet; from a cron elsewhere: run:detached APP COMMAND",
    ),
    (
        "bash",
        "There is no shell here, but in an app: run APP bash",
    ),
    ("sh", "There is no shell here, but in an app: run APP sh"),
    (
        "shell",
        "There is no shell here, but in an app: run APP bash",
    ),
    ("console", "As in a shell of the app: run APP bash"),
    ("rake", "As in a shell of the app: run APP rake TASK"),
    ("url", "apps:info APP shows where it is served"),
    ("urls", "apps:info APP shows where it is served"),
    ("apps:open", "apps:info APP shows where it is served"),
    ("status", "ps APP for an app, doctor for the machine"),
    (
        "events",
        "audit APP shows who changed what; logs APP what ran",
    ),
    (
        "history",
        "audit APP shows who changed what; releases APP what was live",
    ),
    ("config:clear", "config:unset APP NAME..."),
    ("keys:clear", "keys:remove KEY, for each of: keys"),
    (
        "checks:disable",
        "To check no path, but that $PORT is bound: checks:set APP path=default",
    ),
    (
        "git:clone",
        "On your machine; git APP shows the address: git clone <address>",
    ),
    ("git:sync", "Push with git: git push <remote> main"),
    (
        "git:from-image",
        "An image is not deployed as it is; push what it is made of: git push <remote> main",
    ),
    (
        "container",
        "Push with git, and the image is built here: git push <remote> main",
    ),
    (
        "tags",
        "Every release has its image: releases APP, rollback APP v3",
    ),
    (
        "stack",
        "`slipway up --stack` says what builds and instances stand on, for all apps",
    ),
    (
        "builder",
        "`slipway up --builder` says what builds, for all apps; buildpacks:set APP for one",
    ),
    (
        "docker-options",
        "There is no Docker here: limits, config, buildpacks",
    ),
    (
        "storage",
        "There is no storage that outlives an instance yet; keep data in a service",
    ),
    ("members", "Of a team: teams; of an app: access APP"),
    ("orgs", "Users who get access together are a team: teams"),
    ("plugin", "There are no plugins"),
    ("regions", "All apps run where the server does"),
    ("logout", "Your key says who you are: whoami, keys"),
    (
        "scp",
        "There are no files here to copy; what an app is made of comes with git push",
    ),
    (
        "rsync",
        "There are no files here to copy; what an app is made of comes with git push",
    ),
    (
        "sftp-server",
        "There are no files here to copy; what an app is made of comes with git push",
    ),
];

/// For the command itself, or else for its topic.
pub(super) fn advice(command: &str) -> Option<&'static str> {
    let topic = command.split(':').next().unwrap_or(command);
    let find = |word: &str| WORDS.iter().find(|(name, _)| *name == word);
    find(command)
        .or_else(|| find(topic))
        .map(|(_, advice)| *advice)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::help;

    #[test]
    fn a_command_or_its_topic_is_found() {
        let check = |command, words: &str| {
            assert!(advice(command).unwrap().contains(words), "{command}");
        };
        check("certs:auto:enable", "TLS");
        check("ps:type", "limits:set");
        check("run:stop", "ps:stop");
        assert_eq!(advice("nonsense"), None);
        assert_eq!(advice("ps:nonsense"), None);
    }

    #[test]
    fn nobody_is_sent_away_from_a_command_that_there_is() {
        for command in help::commands() {
            let is_listed = |name: &str| WORDS.iter().any(|(word, _)| *word == name);
            assert!(!is_listed(command.get_name()), "{}", command.get_name());
        }
    }
}
