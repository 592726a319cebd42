#!/usr/bin/env bash
# A classic bin/detect: any status but 0 means that the buildpack does not apply.
set -eu
"$CNB_BUILDPACK_DIR/classic/bin/detect" "$PWD" || exit 100
