//! `ssh -t git@host` without a command, on a terminal that tmux keeps.

use std::{
    path::PathBuf,
    thread,
    time::{Duration, Instant},
};

use crate::server::Server;

const PATIENCE: Duration = Duration::from_secs(90);

/// A shell in a window of tmux.
struct Window<'a> {
    server: &'a Server,
    socket: PathBuf,
}

impl<'a> Window<'a> {
    fn open(server: &'a Server) -> Self {
        let window = Self {
            socket: server.home().join("tmux"),
            server,
        };
        window.tmux(&[
            "-f",
            "/dev/null",
            "new-session",
            "-d",
            "-x",
            "80",
            "-y",
            "24",
            "bash --norc",
        ]);
        window.tmux(&["set-option", "-g", "window-size", "manual"]);
        window.type_line("PS1='# '; clear; echo bef''ore");
        window.wait_for("before\n#");
        window
    }

    fn tmux(&self, args: &[&str]) -> String {
        let mut command = self.server.user_command();
        command.args(["--unset=TMUX", "TERM=xterm-256color", "tmux", "-u", "-S"]);
        let output = command.arg(&self.socket).args(args).output();
        let output = output.expect("tmux runs: apt-get install tmux");
        assert!(output.status.success(), "{args:?}: {output:?}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    fn dashboard(&self) {
        self.dashboard_with("TERM=$TERM");
    }

    fn dashboard_with(&self, env: &str) {
        let config = self.server.home().join(".ssh/config");
        let ssh = format!("ssh -F {} -o SendEnv=NO_COLOR", config.display());
        self.type_line(&format!("{env} {ssh} -t slipway; echo status $?"));
        self.wait_for("q leave");
        assert_eq!(
            self.flags(),
            "0 1\n",
            "a screen of its own, without a cursor"
        );
    }

    fn type_line(&self, text: &str) {
        self.press(&["-l", text]);
        self.press(&["Enter"]);
    }

    fn press(&self, keys: &[&str]) {
        self.tmux(&[&["send-keys"], keys].concat());
    }

    fn screen(&self) -> String {
        let text = self.tmux(&["capture-pane", "-p"]);
        let lines: Vec<&str> = text.lines().map(str::trim_end).collect();
        lines.join("\n")
    }

    /// Whether there is a cursor, and whether it is the other screen.
    fn flags(&self) -> String {
        self.tmux(&["display-message", "-p", "#{cursor_flag} #{alternate_on}"])
    }

    #[track_caller]
    fn wait_for(&self, text: &str) -> String {
        let end = Instant::now() + PATIENCE;
        loop {
            let screen = self.screen();
            if screen.contains(text) {
                return screen;
            }
            assert!(Instant::now() < end, "no {text:?} on\n{screen}");
            thread::sleep(Duration::from_millis(50));
        }
    }

    /// The shell's.
    #[track_caller]
    fn is_back(&self, status: &str) {
        let screen = self.wait_for(status);
        assert!(!screen.contains("Slipway"), "{screen}");
        assert_eq!(self.flags(), "1 0\n");
        self.type_line("clear; echo bef''ore");
        self.wait_for("before\n#");
    }
}

impl Drop for Window<'_> {
    fn drop(&mut self) {
        let mut command = self.server.user_command();
        command
            .args(["tmux", "-S"])
            .arg(&self.socket)
            .arg("kill-server");
        _ = command.output();
    }
}

#[test]
fn the_dashboard_is_live_and_leaves_no_trace() {
    let server = Server::start();
    let window = Window::open(&server);
    window.dashboard();
    window.wait_for("No app yet.");

    server.app("shop", "hello");
    server.push("shop").ok();
    let screen = window.wait_for("shop          up");
    assert!(screen.contains("1 app, 1 of 1 instances up"), "{screen}");
    assert!(
        screen.contains("  APP           STATE        RELEASE     UP"),
        "{screen}"
    );
    let row = |screen: &str, text: &str| -> String {
        let found = screen.lines().find(|line| line.contains(text));
        found.unwrap_or_default().to_owned()
    };
    assert!(row(&screen, "▸").contains("v1    1/1"), "{screen}");
    let screen = window.wait_for("web.1 ");
    assert!(
        row(&screen, "web.1").contains("bash -c python3"),
        "{screen}"
    );
    window.wait_for(" MiB");

    let colored = window.tmux(&["capture-pane", "-p", "-e"]);
    assert!(colored.contains("\u{1b}[32mup"), "{colored:?}");

    window.press(&["Tab"]);
    window.wait_for("v1 ●       succeeded");
    window.press(&["Tab"]);
    window.wait_for("    1  succeeded");
    window.press(&["Tab"]);
    window.wait_for("api");
    server.get("shop", "/seen-in-the-log");
    window.wait_for("/seen-in-the-log");

    window.press(&["r"]);
    window.wait_for("Restart all instances of shop?");
    window.press(&["n"]);
    window.wait_for("q leave");
    window.press(&["r", "y"]);
    window.wait_for("Done");

    server.ssh("apps:create blog").ok();
    let screen = window.wait_for("blog          new");
    assert!(
        row(&screen, "▸").contains("shop"),
        "what is chosen stays so:\n{screen}"
    );
    window.press(&["Up"]);
    window.wait_for("▸  blog");
    window.press(&["?"]);
    window.wait_for("choose an app");
    window.press(&["x"]);
    window.press(&["j", "Enter"]);
    window.wait_for("esc back");
    window.tmux(&["resize-window", "-x", "120", "-y", "40"]);
    let end = Instant::now() + PATIENCE;
    while window.screen().lines().count() < 40 || !window.screen().contains(&"─".repeat(60)) {
        assert!(Instant::now() < end, "{}", window.screen());
        thread::sleep(Duration::from_millis(50));
    }
    window.tmux(&["resize-window", "-x", "30", "-y", "8"]);
    window.wait_for("too small");
    window.tmux(&["resize-window", "-x", "80", "-y", "24"]);
    window.wait_for("esc back");
    window.press(&["q"]);
    window.is_back("status 0");

    window.dashboard_with("NO_COLOR=1");
    window.wait_for("shop          up");
    let plain = window.tmux(&["capture-pane", "-p", "-e"]);
    for color in 31..=36 {
        assert!(!plain.contains(&format!("\u{1b}[{color}m")), "{plain:?}");
    }
    window.press(&["C-c"]);
    let screen = window.wait_for("status 0");
    assert!(screen.starts_with("before\n# NO_COLOR=1 ssh "), "{screen}");
    window.is_back("status 0");

    window.dashboard();
    assert_eq!(server.terminate(), Some(0));
    window.is_back("status 0");
}

#[test]
fn where_there_is_no_picture_there_are_words() {
    let server = Server::start();
    for line in ["ssh slipway", "TERM=dumb ssh -tt slipway | tr -d '\\r'"] {
        let said = server.sh(line).ok();
        assert!(said.contains("this is Slipway"), "{said}");
        assert!(said.contains("apps:create"), "{said}");
    }
}
