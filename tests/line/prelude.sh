exec 2>&1
set -o pipefail
# OpenSSH looks up the home folder by user id, not by $HOME.
ssh() { command ssh -F "$HOME/.ssh/config" "$@"; }

# app NAME [FIXTURE]: makes ./NAME (a copy of the fixture when one is named) a repository with the remote `slipway`.
app() {
    [ -z "$2" ] || cp -r "$FIXTURES/$2" "$1"
    git -C "$1" init -q -b main
    git -C "$1" add -A
    git -C "$1" commit -q -m "first"
    git -C "$1" remote add slipway "slipway:$1"
}

# change NAME FILE FROM TO: edits and commits.
change() {
    grep -q -- "$3" "$1/$2" || { echo "change: $1/$2 has no \`$3\`"; return 1; }
    sed -i "s|$3|$4|" "$1/$2"
    git -C "$1" commit -q -a -m "$4"
}

push() { git -C "$1" push slipway "${2:-main}"; }
get() { curl -sS --max-time 20 "http://$1.localhost:$HTTP${2:-/}"; }

# eventually COMMAND: repeats it until it succeeds, for at most 90 s, and prints what it said last, on either stream.
eventually() {
    local end=$((SECONDS + 90)) said
    until said=$("$@" 2>&1); do
        [ $SECONDS -lt $end ] || { echo "$said"; echo "eventually: gave up on \`$*\`"; return 1; }
        sleep 0.1
    done
    [ -z "$said" ] || echo "$said"
}
# For `eventually bash -c "..."`.
export -f ssh get
