//! The picture: apps above, the chosen one below, a line of keys at the end.
//!
//! ```text
//!  Slipway                                       2 apps, 3 of 3 instances up
//!
//!    APP        STATE     RELEASE  INSTANCES     CPU     MEMORY  RELEASED
//!  ▸ shop       up            v12        2/2   1.4 %   84.2 MiB  3m ago
//!    blog       building       v3        1/1   0.0 %   12.0 MiB  2d ago
//!
//!  ── shop ───  Instances   Releases   Builds   Logs  ──────────────────────
//!    ...
//!  ↑↓ choose   enter open   tab next   r restart   ? help   q leave
//! ```

use ratatui_core::{buffer::Buffer, layout::Rect, style::Style};
use release::Build;

use super::{
    feed::Feed,
    looks::Looks,
    snapshot::{AppRow, Snapshot, Use},
    state::{Over, State, Tab},
    table::{Cell, Column, REST, cell, line_of, number, table, words},
};
use crate::{
    output::{ago, elapsed},
    quantity::show_bytes,
};

const COLUMNS_MIN: u16 = 40;
const ROWS_MIN: u16 = 10;
/// Names may be longer; a wider window shows more of them.
const NAME_COLUMNS: std::ops::RangeInclusive<u16> = 12..=40;
/// Of a window, the part that lists apps at most.
const LIST_PART: u16 = 3;
const HELP: &[(&str, &str)] = &[
    ("j k, arrows", "choose an app; scroll when one is open"),
    ("enter, esc", "open it over the whole window, and back"),
    ("tab, arrows", "instances, releases, builds, logs"),
    ("g G, page keys", "first, last, further at once"),
    ("r", "restart all instances, after a question"),
    ("q, Ctrl-C", "leave"),
    ("", ""),
    ("", "Everything else: ssh git@host help"),
];

/// How far the open app can be scrolled.
pub(super) fn draw(
    state: &State,
    snapshot: &Snapshot,
    feed: Option<&Feed>,
    looks: &Looks,
    buffer: &mut Buffer,
) -> usize {
    let area = buffer.area;
    if area.width < COLUMNS_MIN || area.height < ROWS_MIN {
        let text = "This window is too small.";
        buffer.set_stringn(0, 0, text, usize::from(area.width), looks.plain());
        return 0;
    }
    let mut picture = Picture {
        state,
        snapshot,
        looks,
        buffer,
    };
    let inner = Rect {
        x: 1,
        width: area.width - 2,
        ..area
    };
    let line = |y: u16| Rect {
        y,
        height: 1,
        ..inner
    };
    picture.head(line(0));
    let tabs_at = match state.is_open {
        true => 2,
        false => picture.list(Rect {
            y: 2,
            height: (area.height / LIST_PART).max(4),
            ..inner
        }),
    };
    picture.tabs(line(tabs_at));
    let below = tabs_at + 2;
    let most = picture.detail(
        Rect {
            y: below,
            height: area.height.saturating_sub(below + 2),
            ..inner
        },
        feed,
    );
    picture.foot(line(area.height - 1));
    if state.over == Over::Help {
        picture.help(area);
    }
    most
}

struct Picture<'a> {
    state: &'a State,
    snapshot: &'a Snapshot,
    looks: &'a Looks,
    buffer: &'a mut Buffer,
}

impl Picture<'_> {
    fn head(&mut self, line: Rect) {
        let apps = &self.snapshot.apps;
        let up: usize = apps.iter().map(|app| app.up_count).sum();
        let all: usize = apps.iter().map(|app| app.instance_count).sum();
        let count = match apps.len() {
            1 => "1 app".to_owned(),
            count => format!("{count} apps"),
        };
        let right = format!("{count}, {up} of {all} instances up");
        let columns = [words("", 10), number("", line.width.saturating_sub(12))];
        let cells = [
            cell("Slipway", self.looks.strong()),
            cell(right, self.looks.faint()),
        ];
        line_of(self.buffer, line, &columns, &cells);
    }

    /// Where it ends.
    fn list(&mut self, area: Rect) -> u16 {
        let apps = &self.snapshot.apps;
        let (looks, chosen) = (self.looks, self.state.chosen().map(ToString::to_string));
        let longest = apps.iter().map(|app| app.name.len()).max().unwrap_or(0);
        let longest = u16::try_from(longest).unwrap_or(u16::MAX);
        let columns = app_columns(longest.clamp(*NAME_COLUMNS.start(), *NAME_COLUMNS.end()));
        let room = usize::from(area.height - 1);
        let at = apps
            .iter()
            .position(|app| Some(&app.name) == chosen.as_ref());
        // The chosen one in the middle, as far as there are others.
        let first = at.unwrap_or(0).saturating_sub(room / 2);
        let first = first.min(apps.len().saturating_sub(room));
        let shown = &apps[first..apps.len().min(first + room)];
        let rows = shown
            .iter()
            .map(|app| app_row(app, chosen.as_deref(), looks));
        let nothing = "No app yet. Push one: git push ssh://git@HOST/NAME main";
        table(self.buffer, area, &columns, rows, nothing, looks);
        let used = u16::try_from(shown.len()).unwrap_or(area.height) + 1;
        area.y + used.min(area.height) + 1
    }

    /// `── shop ──  Instances   Releases  ────`
    fn tabs(&mut self, line: Rect) {
        let (looks, rule) = (self.looks, self.looks.rule);
        for x in line.left()..line.right() {
            self.buffer.set_stringn(x, line.y, rule, 1, looks.faint());
        }
        let Some(app) = self.state.chosen() else {
            return;
        };
        let mut x = line.x + 2;
        let mut put = |text: String, style: Style| {
            let room = usize::from(line.right().saturating_sub(x));
            x = self.buffer.set_stringn(x, line.y, text, room, style).0;
        };
        put(format!(" {app} "), looks.strong());
        put(rule.repeat(2), looks.faint());
        for tab in Tab::ALL {
            let style = match tab == self.state.tab {
                true => looks.chosen(),
                false => looks.plain(),
            };
            put(" ".to_owned(), looks.plain());
            put(format!(" {} ", tab.title()), style);
        }
        put(" ".to_owned(), looks.plain());
    }

    fn detail(&mut self, area: Rect, feed: Option<&Feed>) -> usize {
        let is_this = self.snapshot.detail.app.as_ref() == self.state.chosen();
        if self.state.chosen().is_none() || (!is_this && self.state.tab != Tab::Logs) {
            return 0;
        }
        match self.state.tab {
            Tab::Instances => self.instances(area),
            Tab::Releases => self.releases(area),
            Tab::Builds => self.builds(area),
            Tab::Logs => feed.map_or(0, |feed| self.logs(area, feed)),
        }
    }

    fn instances(&mut self, area: Rect) -> usize {
        const COLUMNS: &[Column] = &[
            words("INSTANCE", 10),
            words("STATE", 9),
            words("SINCE", 8),
            number("RELEASE", 7),
            number("CPU", 7),
            number("MEMORY", 9),
            words("COMMAND", REST),
        ];
        let (looks, all) = (self.looks, &self.snapshot.detail.instances);
        let (skipped, most) = self.scrolled(all.len(), area);
        let rows = all[skipped..].iter().map(|(instance, used)| {
            vec![
                cell(&instance.name, looks.plain()),
                cell(&instance.state, looks.of_state(&instance.state)),
                cell(ago(instance.since), looks.faint()),
                cell(format!("v{}", instance.release), looks.plain()),
                cell(cpu(*used, looks), looks.plain()),
                cell(memory(*used, looks), looks.plain()),
                cell(&instance.command, looks.faint()),
            ]
        });
        table(
            self.buffer,
            area,
            COLUMNS,
            rows,
            "Nothing of it runs.",
            looks,
        );
        most
    }

    fn releases(&mut self, area: Rect) -> usize {
        const COLUMNS: &[Column] = &[
            words("RELEASE", 9),
            words("STATUS", 9),
            words("WHEN", 8),
            words("BY", 12),
            words("WHAT", REST),
        ];
        let (looks, all) = (self.looks, &self.snapshot.detail.releases);
        let (skipped, most) = self.scrolled(all.len(), area);
        let rows = all[skipped..].iter().map(|release| {
            let number = match release.is_current {
                true => format!("v{} {}", release.number, looks.current),
                false => format!("v{}", release.number),
            };
            vec![
                cell(number, looks.plain()),
                cell(release.status, looks.of_state(release.status)),
                cell(ago(release.created_at), looks.faint()),
                cell(&release.by, looks.plain()),
                cell(&release.text, looks.plain()),
            ]
        });
        table(self.buffer, area, COLUMNS, rows, "No release yet.", looks);
        most
    }

    fn builds(&mut self, area: Rect) -> usize {
        const COLUMNS: &[Column] = &[
            number("BUILD", 5),
            words("STATUS", 9),
            words("COMMIT", 8),
            words("WHEN", 8),
            number("TOOK", 7),
            words("BY", 12),
            words("OUTCOME", REST),
        ];
        let (looks, all) = (self.looks, &self.snapshot.detail.builds);
        let (skipped, most) = self.scrolled(all.len(), area);
        let rows = all[skipped..].iter().map(|build| {
            let status = build.status.as_str();
            vec![
                cell(build.number.to_string(), looks.plain()),
                cell(status, looks.of_state(status)),
                cell(
                    build.commit.chars().take(8).collect::<String>(),
                    looks.plain(),
                ),
                cell(ago(build.started_at), looks.faint()),
                cell(took(build).unwrap_or_default(), looks.plain()),
                cell(&build.by, looks.plain()),
                cell(outcome(build), looks.plain()),
            ]
        });
        table(self.buffer, area, COLUMNS, rows, "No build yet.", looks);
        most
    }

    /// Its end, or what lies above it.
    fn logs(&mut self, area: Rect, feed: &Feed) -> usize {
        const COLUMNS: &[Column] = &[words("", 8), words("", 12), words("", REST)];
        let (looks, lines) = (self.looks, feed.lines());
        let room = usize::from(area.height);
        let most = lines.len().saturating_sub(room);
        let first = most - self.state.scroll.min(most);
        if lines.is_empty() {
            let text = "It has not said anything yet.";
            line_of(
                self.buffer,
                area,
                &COLUMNS[2..],
                &[cell(text, looks.faint())],
            );
        }
        for (line, said) in area.rows().zip(lines.iter().skip(first)) {
            let cells = [
                // Of `2026-01-02T03:04:05.678901+00:00`.
                cell(said.at.get(11..19).unwrap_or_default(), looks.faint()),
                cell(&said.process, looks.of_process()),
                cell(&said.text, looks.plain()),
            ];
            line_of(self.buffer, line, COLUMNS, &cells);
        }
        most
    }

    /// How many rows stand above the window, and how many could. A line is for the titles.
    fn scrolled(&self, count: usize, area: Rect) -> (usize, usize) {
        let room = usize::from(area.height).saturating_sub(1);
        let most = count.saturating_sub(room);
        (self.state.scroll.min(most), most)
    }

    fn foot(&mut self, line: Rect) {
        let looks = self.looks;
        let (text, style) = match (&self.state.over, &self.state.told) {
            (Over::Restart(app), _) => (
                format!("Restart all instances of {app}?   y yes   any other key no"),
                looks.strong(),
            ),
            (_, Some(told)) => (told.clone(), looks.plain()),
            (_, None) if self.state.is_open => (
                format!(
                    "{} scroll   esc back   tab next   r restart   ? help   q leave",
                    looks.up_down
                ),
                looks.faint(),
            ),
            (_, None) => (
                format!(
                    "{} choose   enter open   tab next   r restart   ? help   q leave",
                    looks.up_down
                ),
                looks.faint(),
            ),
        };
        line_of(self.buffer, line, &[words("", REST)], &[cell(text, style)]);
    }

    fn help(&mut self, area: Rect) {
        let (width, height) = (60.min(area.width - 2), HELP.len() as u16 + 4);
        let height = height.min(area.height);
        let place = Rect {
            x: (area.width - width) / 2,
            y: (area.height - height) / 2,
            width,
            height,
        };
        for y in place.top()..place.bottom() {
            let blank = " ".repeat(usize::from(width));
            self.buffer
                .set_stringn(place.x, y, blank, usize::from(width), Style::reset());
        }
        let rule = self.looks.rule.repeat(usize::from(width));
        for y in [place.top(), place.bottom() - 1] {
            self.buffer
                .set_stringn(place.x, y, &rule, usize::from(width), self.looks.faint());
        }
        let inner = Rect {
            x: place.x + 2,
            y: place.y + 2,
            width: width - 4,
            height: height.saturating_sub(4),
        };
        for (line, (keys, what)) in inner.rows().zip(HELP) {
            let columns = [words("", 14), words("", REST)];
            let cells = [
                cell(*keys, self.looks.strong()),
                cell(*what, self.looks.plain()),
            ];
            line_of(self.buffer, line, &columns, &cells);
        }
    }
}

fn app_columns(name: u16) -> [Column; 8] {
    [
        words("", 1),
        words("APP", name),
        words("STATE", 11),
        number("RELEASE", 7),
        number("UP", 5),
        number("CPU", 7),
        number("MEMORY", 9),
        words("RELEASED", 8),
    ]
}

fn app_row(app: &AppRow, chosen: Option<&str>, looks: &Looks) -> Vec<Cell> {
    let is_chosen = chosen == Some(app.name.as_str());
    let (mark, name) = match is_chosen {
        true => (looks.mark, looks.strong()),
        false => ("", looks.plain()),
    };
    let none = || looks.none.to_owned();
    let release = app
        .release
        .map_or_else(none, |release| format!("v{release}"));
    vec![
        cell(mark, name),
        cell(&app.name, name),
        cell(app.state, looks.of_state(app.state)),
        cell(release, looks.plain()),
        cell(
            format!("{}/{}", app.up_count, app.instance_count),
            looks.plain(),
        ),
        cell(cpu(app.use_of, looks), looks.plain()),
        cell(memory(app.use_of, looks), looks.plain()),
        cell(app.released_at.map_or_else(none, ago), looks.faint()),
    ]
}

/// `1.4 %`, `120 %`
fn cpu(used: Use, looks: &Looks) -> String {
    match used.cpu_percent {
        Some(percent) if percent < 10.0 => format!("{percent:.1} %"),
        Some(percent) => format!("{percent:.0} %"),
        None => looks.none.to_owned(),
    }
}

fn memory(used: Use, looks: &Looks) -> String {
    used.memory_bytes
        .map_or_else(|| looks.none.to_owned(), show_bytes)
}

fn took(build: &Build) -> Option<String> {
    let seconds = build.ended_at?.saturating_sub(build.started_at);
    Some(elapsed(std::time::Duration::from_secs(seconds)))
}

fn outcome(build: &Build) -> String {
    match (build.release, &build.reason) {
        (Some(release), _) => release.to_string(),
        (None, Some(reason)) => reason.clone(),
        (None, None) => String::new(),
    }
}
