//! What a terminal can show: colours of its own palette, and signs beyond ASCII.

use ratatui_core::style::{Color, Modifier, Style};

const NO_COLOR: &str = "NO_COLOR";
/// The first that is set decides (locale(7)).
const LOCALE: [&str; 3] = ["LC_ALL", "LC_CTYPE", "LANG"];

#[derive(Debug, Clone, Copy)]
pub(super) struct Looks {
    has_colors: bool,
    pub(super) mark: &'static str,
    pub(super) rule: &'static str,
    pub(super) up_down: &'static str,
    pub(super) none: &'static str,
    /// Beside the current release.
    pub(super) current: &'static str,
}

impl Looks {
    /// By what the client tells of its terminal. Without a word about it a terminal is taken for one of today.
    pub(super) fn of(env: &[(String, String)]) -> Self {
        let get = |name: &str| {
            let found = env.iter().find(|(known, _)| known == name);
            found
                .map(|(_, value)| value.as_str())
                .filter(|value| !value.is_empty())
        };
        let locale = LOCALE.iter().find_map(|name| get(name));
        let is_utf8 = locale.is_none_or(|locale| {
            let locale = locale.to_ascii_lowercase();
            locale.contains("utf-8") || locale.contains("utf8")
        });
        let (mark, rule, up_down, none, current) = match is_utf8 {
            true => ("▸", "─", "↑↓", "–", "●"),
            false => (">", "-", "jk", "-", "*"),
        };
        Self {
            has_colors: get(NO_COLOR).is_none(),
            mark,
            rule,
            up_down,
            none,
            current,
        }
    }

    pub(super) fn plain(&self) -> Style {
        Style::new()
    }

    pub(super) fn strong(&self) -> Style {
        Style::new().add_modifier(Modifier::BOLD)
    }

    /// One of several.
    pub(super) fn chosen(&self) -> Style {
        Style::new().add_modifier(Modifier::REVERSED)
    }

    /// Beside the point.
    pub(super) fn faint(&self) -> Style {
        Style::new().add_modifier(Modifier::DIM)
    }

    /// Of a state, whose word says the same.
    pub(super) fn of_state(&self, state: &str) -> Style {
        let color = match state {
            "up" | "succeeded" => Color::Green,
            "crashed" | "failed" => Color::Red,
            "building" | "running" | "starting" | "draining" | "stopping" | "pending"
            | "queued" | "maintenance" => Color::Yellow,
            _ => return self.faint(),
        };
        self.colored(color)
    }

    pub(super) fn of_process(&self) -> Style {
        self.colored(Color::Cyan)
    }

    fn colored(&self, color: Color) -> Style {
        match self.has_colors {
            true => Style::new().fg(color),
            false => Style::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_may_say_what_it_can_show() {
        let check = |env: &[(&str, &str)], mark, has_colors| {
            let env: Vec<_> = (env.iter())
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect();
            let looks = Looks::of(&env);
            assert_eq!(
                (looks.mark, looks.has_colors),
                (mark, has_colors),
                "{env:?}"
            );
        };
        check(&[], "▸", true);
        check(&[("LANG", "de_DE.UTF-8")], "▸", true);
        check(&[("LANG", "en_US.UTF-8"), ("LC_ALL", "C")], ">", true);
        check(&[("LANG", "POSIX"), ("NO_COLOR", "1")], ">", false);
        check(&[("NO_COLOR", "")], "▸", true);
    }
}
