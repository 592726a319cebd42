#!/bin/bash
# builder-image.sh PROGRAM BUILDPACKS ORDER RUN_IMAGE LAYOUT, as root: a builder image, `LAYOUT:builder`, whose lifecycle is
# PROGRAM. It has no operating system of its own: on a platform, it would stand on a build image.
set -euo pipefail
program=$1 buildpacks=$2 order=$3 run_image=$4 layout=$5

root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
mkdir -p "$root"/cnb/lifecycle "$root"/{layers,workspace,home} "$root"/platform/env
chmod 755 "$root"
cp "$program" "$root/cnb/lifecycle/slipway"
for phase in analyzer detector restorer extender builder exporter creator rebaser launcher; do
    ln -s slipway "$root/cnb/lifecycle/$phase"
done
cp -r "$buildpacks" "$root/cnb/buildpacks"
cp "$order" "$root/cnb/order.toml"
printf '[[images]]\nimage = "%s"\n' "$run_image" > "$root/cnb/run.toml"
printf '[run-image]\nimage = "%s"\n' "$run_image" > "$root/cnb/stack.toml"
chown 1000:1000 "$root"/{layers,workspace,home}

umoci init --layout "$layout"
umoci new --image "$layout:builder"
umoci insert --image "$layout:builder" "$root" /
umoci config --image "$layout:builder" --config.user 1000:1000 --config.workingdir /layers \
    --config.env PATH=/usr/bin:/bin --config.env CNB_USER_ID=1000 --config.env CNB_GROUP_ID=1000
