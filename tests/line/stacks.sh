# stacks DIR: makes DIR/builder and DIR/run, OCI layouts of a builder image and its run image out of this machine's own
# programs, by umoci.
set -eu
umask 022
cd "$1"
umoci() { command umoci "$@" >umoci.log 2>&1 || { cat umoci.log; return 1; }; }

put() { # ROOT PROGRAM...: with the libraries that they need.
    local root=$1 file
    shift
    for file in "$@" $(ldd "$@" | grep -o '/[^ ]*' | grep -v ':$' | sort -u); do
        [ -e "$root$file" ] || { mkdir -p "$root$(dirname "$file")" && cp -L "$file" "$root$file"; }
    done
}

image() { # NAME: of the folder `root`.
    umoci init --layout "$1"
    umoci new --image "$1:latest"
    umoci insert --rootless --image "$1:latest" root /
}

mkdir root
put root /bin/sh /bin/bash /usr/bin/env /usr/bin/cat /usr/bin/id /usr/bin/mkdir
put root /usr/bin/python3 $(/usr/bin/python3 -c 'import sysconfig as s; import glob; print(*glob.glob(s.get_path("platstdlib") + "/lib-dynload/_socket*"))')
# The phases need it, whatever the programs above do.
put root $(ldconfig -p | grep -o '/.*/libgcc_s.so.1' | head -1)
lib=$(/usr/bin/python3 -c 'import sysconfig; print(sysconfig.get_path("stdlib"))')
mkdir -p "root$lib"
tar -C "$lib" --exclude=__pycache__ --exclude='*.so' --exclude='config-*' --exclude=dist-packages --exclude=site-packages \
    --exclude=test --exclude=tests --exclude=idlelib --exclude=ensurepip -c . | tar -C "root$lib" -x
mkdir -p root/etc root/dev root/gone root/emptied
echo run >root/etc/which
printf 'ID=testix\nVERSION_ID=7\n' >root/etc/os-release
ln -s /etc/passwd root/etc/resolv.conf
echo x | tee root/gone/file root/emptied/file >/dev/null
image run
umoci config --image run:latest --config.label io.buildpacks.stack.id=test.stack --config.label kept=yes \
    --config.env STACK_SAYS=hi --config.env "PATH=/opt/bin:/usr/bin:/bin"

# The same, with something taken away and the buildpacks, in layers of their own.
cp -r run builder
umoci insert --rootless --image builder:latest --whiteout /gone
mkdir -p more/etc more/emptied
echo build >more/etc/which
echo new >more/emptied/new
umoci insert --rootless --image builder:latest --opaque more/emptied /emptied
umoci insert --rootless --image builder:latest more/etc/which /etc/which
bin=cnb/acme_greet/1/bin
mkdir -p $bin
cat >cnb/acme_greet/1/buildpack.toml <<'TOML'
api = "0.10"
[buildpack]
id = "acme/greet"
version = "1"
[[targets]]
os = "linux"
[[targets.distros]]
name = "testix"
version = "7"
TOML
printf '#!/bin/sh\nexit 0\n' >$bin/detect
cat >$bin/build <<'BUILD'
#!/usr/bin/env bash
set -eu
echo "       built on $(cat /etc/which), $CNB_STACK_ID, $CNB_TARGET_DISTRO_NAME $CNB_TARGET_DISTRO_VERSION, $(id -un)"
echo "       the image says $STACK_SAYS, $PATH"
echo "       left: $(cd / && echo gon[e] emptied/*)"
mkdir -p "$CNB_LAYERS_DIR/x/env.launch"
printf '[types]\nlaunch = true\n' >"$CNB_LAYERS_DIR/x.toml"
echo from the buildpack >"$CNB_LAYERS_DIR/x/words"
cat >"$CNB_LAYERS_DIR/launch.toml" <<'TOML'
[[processes]]
type = "web"
command = ["python3", "-u", "web.py"]
default = true
TOML
BUILD
chmod -R a+rX cnb && chmod a+x $bin/*
umoci insert --rootless --image builder:latest cnb /cnb/buildpacks
printf '[[order]]\n[[order.group]]\nid = "acme/greet"\nversion = "1"\n' >order.toml
umoci insert --rootless --image builder:latest order.toml /cnb/order.toml
umoci config --image builder:latest \
    --config.label "io.buildpacks.builder.metadata={\"stack\":{\"runImage\":{\"image\":\"$PWD/run\"}}}"
chmod -R a+rX builder run
