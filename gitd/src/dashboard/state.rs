//! Where the user is, and what a key means there. Pure.

use release::AppName;

use super::key::Key;

/// Lines that a page key moves by.
const PAGE: usize = 10;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Tab {
    #[default]
    Instances,
    Releases,
    Builds,
    Logs,
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) enum Over {
    #[default]
    Nothing,
    Help,
    /// Whether to restart it.
    Restart(AppName),
}

#[derive(Debug, Default)]
pub(super) struct State {
    /// By name: the list changes under it.
    chosen: Option<AppName>,
    pub(super) tab: Tab,
    /// The app has the whole window, and moving scrolls.
    pub(super) is_open: bool,
    /// Lines from the top, and in the log from the end.
    pub(super) scroll: usize,
    pub(super) over: Over,
    /// What came of the last thing that was asked for.
    pub(super) told: Option<String>,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Asked {
    Nothing,
    Leave,
    Restart(AppName),
}

impl Tab {
    pub(super) const ALL: [Self; 4] = [Self::Instances, Self::Releases, Self::Builds, Self::Logs];

    pub(super) fn title(self) -> &'static str {
        match self {
            Self::Instances => "Instances",
            Self::Releases => "Releases",
            Self::Builds => "Builds",
            Self::Logs => "Logs",
        }
    }

    fn moved(self, by: usize) -> Self {
        let at = Self::ALL.iter().position(|tab| *tab == self).unwrap_or(0);
        Self::ALL[(at + by) % Self::ALL.len()]
    }
}

impl State {
    pub(super) fn chosen(&self) -> Option<&AppName> {
        self.chosen.as_ref()
    }

    pub(super) fn tell(&mut self, words: String) {
        self.told = Some(words);
    }

    /// After the list has changed: what is chosen is one of it.
    pub(super) fn settle(&mut self, apps: &[AppName]) {
        let is_there = self
            .chosen
            .as_ref()
            .is_some_and(|chosen| apps.contains(chosen));
        if !is_there {
            self.chosen = apps.first().cloned();
            self.is_open = false;
            self.scroll = 0;
        }
    }

    pub(super) fn press(&mut self, key: Key, apps: &[AppName]) -> Asked {
        if key == Key::Interrupt {
            return Asked::Leave;
        }
        match std::mem::take(&mut self.over) {
            Over::Nothing => self.press_plain(key, apps),
            // Any key.
            Over::Help => Asked::Nothing,
            Over::Restart(app) => match key {
                Key::Char('y' | 'Y') => Asked::Restart(app),
                _ => Asked::Nothing,
            },
        }
    }

    fn press_plain(&mut self, key: Key, apps: &[AppName]) -> Asked {
        self.told = None;
        match key {
            Key::Char('q') => return Asked::Leave,
            Key::Char('?' | 'h') => self.over = Over::Help,
            Key::Char('r') => {
                self.over = self.chosen.clone().map_or(Over::Nothing, Over::Restart);
            }
            Key::Enter => self.open(true),
            Key::Escape => self.open(false),
            Key::Tab | Key::Right | Key::Char('l') => self.turn(1),
            Key::BackTab | Key::Left => self.turn(Tab::ALL.len() - 1),
            Key::Down | Key::Char('j') => self.walk(1, true, apps),
            Key::Up | Key::Char('k') => self.walk(1, false, apps),
            Key::PageDown | Key::Char(' ') => self.walk(PAGE, true, apps),
            Key::PageUp => self.walk(PAGE, false, apps),
            Key::Home | Key::Char('g') => self.walk(usize::MAX, false, apps),
            Key::End | Key::Char('G') => self.walk(usize::MAX, true, apps),
            Key::Interrupt | Key::Char(_) => {}
        }
        Asked::Nothing
    }

    fn open(&mut self, is_open: bool) {
        self.is_open = is_open && self.chosen.is_some();
        self.scroll = 0;
    }

    fn turn(&mut self, by: usize) {
        self.tab = self.tab.moved(by);
        self.scroll = 0;
    }

    /// Through the apps, or through what is open. How far one may scroll only the picture knows: it calls `limit_scroll`.
    fn walk(&mut self, by: usize, down: bool, apps: &[AppName]) {
        if self.is_open {
            // A log is read from its end.
            let away = down != (self.tab == Tab::Logs);
            self.scroll = moved(self.scroll, by, away);
            return;
        }
        let at = apps
            .iter()
            .position(|app| Some(app) == self.chosen.as_ref());
        let to = moved(at.unwrap_or(0), by, down).min(apps.len().saturating_sub(1));
        self.chosen = apps.get(to).cloned();
        self.scroll = 0;
    }

    pub(super) fn limit_scroll(&mut self, most: usize) {
        self.scroll = self.scroll.min(most);
    }
}

fn moved(at: usize, by: usize, up: bool) -> usize {
    if up {
        at.saturating_add(by)
    } else {
        at.saturating_sub(by)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn apps() -> Vec<AppName> {
        ["blog", "shop", "wiki"]
            .map(|name| name.parse().unwrap())
            .to_vec()
    }

    fn pressed(keys: &str) -> (State, Asked) {
        let mut state = State::default();
        state.settle(&apps());
        let mut asked = Asked::Nothing;
        for key in super::super::key::Keys::default().read(keys.as_bytes()) {
            asked = state.press(key, &apps());
        }
        (state, asked)
    }

    #[test]
    fn moving_stays_in_the_list() {
        let check = |keys: &str, expected: &str| {
            assert_eq!(
                pressed(keys).0.chosen().unwrap().to_string(),
                expected,
                "{keys}"
            );
        };
        check("", "blog");
        check("j", "shop");
        check("jjjj", "wiki");
        check("jjkkk", "blog");
        check("G", "wiki");
        check("Gg", "blog");
        check("\x1b[B\x1b[B\x1b[A", "shop");
    }

    #[test]
    fn a_restart_is_confirmed() {
        assert_eq!(pressed("jr").0.over, Over::Restart("shop".parse().unwrap()));
        assert_eq!(pressed("jry").1, Asked::Restart("shop".parse().unwrap()));
        for no in ["jrn", "jrq", "jr\x1b", "jr\r"] {
            let (state, asked) = pressed(no);
            assert_eq!(
                (state.over, asked),
                (Over::Nothing, Asked::Nothing),
                "{no:?}"
            );
        }
        assert_eq!(pressed("r\x03").1, Asked::Leave);
    }

    #[test]
    fn tabs_go_round_and_an_open_app_scrolls() {
        assert_eq!(pressed("\t\t\t").0.tab, Tab::Logs);
        assert_eq!(pressed("\t\t\t\t").0.tab, Tab::Instances);
        assert_eq!(pressed("\x1b[Z").0.tab, Tab::Logs);
        let (state, _) = pressed("\t\rjj");
        assert_eq!((state.is_open, state.scroll), (true, 2));
        assert_eq!(state.chosen().unwrap().to_string(), "blog");
        assert_eq!(pressed("\t\t\t\rkkj").0.scroll, 1, "a log, from its end");
        assert!(!pressed("\r\x1b").0.is_open);
    }

    #[test]
    fn an_app_that_goes_is_no_longer_chosen() {
        let (mut state, _) = pressed("jj\r");
        state.settle(&apps()[..2]);
        assert_eq!(state.chosen().unwrap().to_string(), "blog");
        assert!(!state.is_open);
        state.settle(&[]);
        assert_eq!(state.chosen(), None);
        assert_eq!(state.press(Key::Char('r'), &[]), Asked::Nothing);
        assert_eq!(state.over, Over::Nothing);
    }
}
