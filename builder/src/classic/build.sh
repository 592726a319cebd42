#!/usr/bin/env bash
# Runs a classic buildpack's bin/compile and bin/release, and puts what they leave where a launcher finds it:
#
#   CACHE_DIR            the layer `cache`
#   ENV_DIR              <platform>/env
#   export               the layer `export`, as variables for the buildpacks that come after
#   .profile.d/*.sh      the layer `profile`, sourced at the start of a process
#   bin/release, Procfile   launch.toml
set -eu
shopt -s nullglob

app=$PWD
id=$(basename "$(dirname "$CNB_BUILDPACK_DIR")")
work=${TMPDIR:-/tmp}/classic
mkdir -p "$work/$id" "$work/profiled"

# It may write beside itself (`export`), and the folder of buildpacks is read-only.
buildpack=$work/$id/buildpack
rm -rf "$buildpack"
cp -R "$CNB_BUILDPACK_DIR/classic" "$buildpack"

layer() { # name, types
    mkdir -p "$CNB_LAYERS_DIR/$1"
    printf '[types]\n%s = true\n' "$2" >"$CNB_LAYERS_DIR/$1.toml"
}

stack() {
    case "${CNB_STACK_ID:-} ${CNB_TARGET_DISTRO_NAME:-} ${CNB_TARGET_DISTRO_VERSION:-}" in
    heroku-*) echo "$CNB_STACK_ID" ;;
    *" ubuntu 22.04" | *" debian 12") echo heroku-22 ;;
    *" ubuntu 26.04" | *" debian 14") echo heroku-26 ;;
    *) echo heroku-24 ;;
    esac
}

config=$CNB_PLATFORM_DIR/env
[ -d "$config" ] || config=$(mktemp -d)
if [ -f "$config/STACK" ]; then STACK=$(cat "$config/STACK"); fi
export STACK="${STACK:-$(stack)}" REQUEST_ID="${REQUEST_ID:-${SOURCE_VERSION:-slipway}}"
unset GIT_DIR

layer cache cache
"$buildpack/bin/compile" "$app" "$CNB_LAYERS_DIR/cache" "$config"

rm -rf "$CNB_LAYERS_DIR/export" "$CNB_LAYERS_DIR/export.toml"
if [ -f "$buildpack/export" ]; then
    layer export build
    mkdir -p "$CNB_LAYERS_DIR/export/env.build"
    (
        set +eu
        cd "$app" && . "$buildpack/export" >&2
        env -0
    ) >"$work/$id/exported"
    while IFS= read -r -d '' pair; do
        name=${pair%%=*}
        case "$name" in
        _ | PWD | OLDPWD | SHLVL | HOME | CNB_* | *[!A-Za-z0-9_]*) continue ;;
        esac
        if [ "${!name-}" != "${pair#*=}" ]; then
            printf '%s' "${pair#*=}" >"$CNB_LAYERS_DIR/export/env.build/$name.override"
        fi
    done <"$work/$id/exported"
fi

# Each script once, by the buildpack that has made it; an app's own go with the first.
rm -rf "$CNB_LAYERS_DIR/profile" "$CNB_LAYERS_DIR/profile.toml"
for script in "$app"/.profile.d/*.sh; do
    name=$(basename "$script")
    if [ -f "$script" ] && [ ! -e "$work/profiled/$name" ]; then
        layer profile launch
        mkdir -p "$CNB_LAYERS_DIR/profile/profile.d"
        # They count on the app being at home.
        echo "export HOME=$(printf %q "$app")" >"$CNB_LAYERS_DIR/profile/profile.d/000_home.sh"
        cp "$script" "$CNB_LAYERS_DIR/profile/profile.d/$name"
        touch "$work/profiled/$name"
    fi
done

declare -A processes
take() { # lines of `type: command`
    local line
    while IFS= read -r line || [ -n "$line" ]; do
        if [[ "$line" =~ ^[[:space:]]*\"?([A-Za-z0-9_-]+)\"?:[[:space:]]+(.*[^[:space:]])[[:space:]]*$ ]]; then
            processes[${BASH_REMATCH[1]}]=${BASH_REMATCH[2]}
        fi
    done
}
if [ -e "$CNB_BUILDPACK_DIR/releases" ]; then
    # YAML, of which only one map is of interest: the lines below its name that are indented.
    "$buildpack/bin/release" "$app" >"$work/$id/release"
    take < <(sed -n '/^default_process_types:/,/^[^[:space:]]/{/^[[:space:]]/p}' "$work/$id/release" |
        sed -E "s/:[[:space:]]+\"(.*)\"[[:space:]]*\$/: \1/; s/:[[:space:]]+'(.*)'[[:space:]]*\$/: \1/")
fi
if [ -e "$CNB_BUILDPACK_DIR/reads-procfile" ] && [ -f Procfile ]; then
    take < <(tr -d '\r' <Procfile)
fi

: >"$CNB_LAYERS_DIR/launch.toml"
for type in "${!processes[@]}"; do
    command=${processes[$type]//\\/\\\\}
    command=${command//\"/\\\"}
    printf '[[processes]]\ntype = "%s"\ncommand = "%s"\ndirect = false\n' "$type" "$command"
    if [ "$type" = web ]; then echo 'default = true'; fi
done >>"$CNB_LAYERS_DIR/launch.toml"
