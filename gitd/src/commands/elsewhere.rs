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
