//! The image as an instance runs it.

use crate::{
    Case,
    world::{With, World},
};

pub(crate) const CASES: &[Case] = &[
    ("a process gets its layers' environment", environment),
    ("arguments and commands of the user's own", arguments),
    ("the shell form of old buildpacks", shell),
    ("what cannot be launched says why", cannot),
];

fn environment(world: &World) {
    world.only(
        "mkdir -p $1/x/{bin,env,env.launch/web,exec.d/web,profile.d}
printf '#!/bin/bash\\necho tool: $V $E $W $PORT; env | grep ^CNB_ ; echo in $(pwd); ls -ld app.txt' > $1/x/bin/tool
printf '#!/bin/bash\\necho \"E = \\\\\"$V-e\\\\\"\" >&3' > $1/x/exec.d/e
printf '#!/bin/bash\\necho \"W = \\\\\"w\\\\\"\" >&3' > $1/x/exec.d/web/w
chmod +x $1/x/bin/tool $1/x/exec.d/e $1/x/exec.d/web/w
echo -n v > $1/x/env/V; echo -n 2 > $1/x/env.launch/web/V.append
echo '[types]
launch = true' > $1/x.toml
echo '[[processes]]
type = \"web\"
command = [\"tool\"]
default = true
[[processes]]
type = \"other\"
command = [\"tool\"]
working-dir = \"/tmp\"' > $1/launch.toml",
    );
    let (built, _) = world.built(With::default());
    let (code, text) = world.run(&built, &[], &[("PORT", "5000")]);
    assert_eq!(code, 0, "{text}");
    assert!(
        text.starts_with("tool: v2 v2-e w 5000\nin /workspace\n"),
        "{text}"
    );
    let (_, text) = world.run(&built, &["/cnb/process/other"], &[]);
    assert!(text.starts_with("tool: v v-e\nin /tmp\n"), "{text}");
    // Found in PATH, as `docker run IMAGE web` does.
    let (_, text) = world.run(&built, &["web"], &[]);
    assert!(text.starts_with("tool: v2 v2-e w\n"), "{text}");
}

fn arguments(world: &World) {
    world.only(
        "echo '[[processes]]
type = \"web\"
command = [\"printf\", \"%s,\"]
args = [\"default\"]' > $1/launch.toml",
    );
    let (built, _) = world.built(With::default());
    let launcher = "/cnb/lifecycle/launcher";
    for (argv, expected) in [
        (&["/cnb/process/web"][..], "default,"),
        (&["/cnb/process/web", "a b", "$HOME"], "a b,$HOME,"),
        (&[launcher, "--", "printf", "%s", "$PORT"], "$PORT"),
        (&[launcher, "printf %s $PORT | tr 5 6"], "6000"),
        (&[launcher, "printf", "%s", "$PORT"], "5000"),
    ] {
        let (code, text) = world.run(&built, argv, &[("PORT", "5000")]);
        assert_eq!((code, text.as_str()), (0, expected), "{argv:?}");
    }
}

fn shell(world: &World) {
    world.buildpack_of(
        "0.8",
        "acme/a",
        "",
        "exit 0",
        "mkdir -p $1/x/profile.d/web; echo 'A=from-profile' > $1/x/profile.d/a.sh
echo 'B=of-web' > $1/x/profile.d/web/b.sh; echo 'A=$A+app' > .profile
echo '[types]
launch = true' > $1/x.toml
echo '[[processes]]
type = \"web\"
command = \"echo $A $B | cat; pwd\"
working-dir = \"/tmp\"
[[processes]]
type = \"direct\"
command = \"echo\"
args = [\"$A\"]
direct = true' > $1/launch.toml
sed -i 's/^A=/export A=/; s/^B=/export B=/' $1/x/profile.d/a.sh $1/x/profile.d/web/b.sh .profile",
    );
    world.order(&["acme/a"]);
    let (built, _) = world.built(With::default());
    let (_, text) = world.run(&built, &["/cnb/process/web"], &[]);
    assert_eq!(text, "from-profile+app of-web\n/tmp\n");
    let (_, text) = world.run(&built, &["/cnb/process/direct", "more"], &[]);
    assert_eq!(text, "$A more\n");
}

fn cannot(world: &World) {
    world.only(
        "mkdir -p $1/x/exec.d; printf '#!/bin/bash\\n[ -z \"$BREAK\" ]' > $1/x/exec.d/e; chmod +x $1/x/exec.d/e
echo '[types]
launch = true' > $1/x.toml
echo '[[processes]]
type = \"web\"
command = [\"no-such-program\"]' > $1/launch.toml",
    );
    let (built, _) = world.built(With::default());
    for (argv, env, expected) in [
        (
            &["/cnb/process/web"][..],
            &[][..],
            "launcher: no-such-program: not found in PATH",
        ),
        (
            &["/cnb/process/web"],
            &[("BREAK", "1")],
            "launcher: /layers/acme_a/x/exec.d/e: ended with exit status 1",
        ),
        (
            &["/cnb/lifecycle/launcher"],
            &[],
            "launcher: neither a process type nor a command was given",
        ),
    ] {
        let (code, text) = world.run(&built, argv, env);
        assert_eq!(code, 82, "{text}");
        assert!(text.starts_with(expected), "{text}");
    }
}
