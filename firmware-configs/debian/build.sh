#!/bin/bash
# build.sh WHEELHOUSE FOLDER: makes edgeai_VERSION_ARCHITECTURE.deb in FOLDER of what `make wheelhouse` made, without any
# index. PYTHON made the wheels; its minor version is the one that the cart needs. DEB_VERSION, DEB_MAINTAINER: see below.
set -euo pipefail
umask 022
here=$(cd "$(dirname "$0")" && pwd)
checkout=$(cd "$here/../.." && pwd)
wheels=$(cd "$1" && pwd)
python=${PYTHON:-python3}
stage=$(mktemp -d)
trap 'rm -rf "$stage"' EXIT
chmod 755 "$stage"
env=$stage/opt/edgeai

(cd "$wheels" && sha256sum -c --quiet SHA256SUMS)
minor=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
"$python" -m venv --without-pip "$env"
# By name: of a path pip would write down the path.
mapfile -t names < <(cd "$wheels" && ls ./*.whl | sed -E 's,^\./([^-]+)-.*,\1,')
"$python" -m pip --disable-pip-version-check -q --python "$env/bin/python3" install --no-index --no-deps --no-compile \
    --find-links "$wheels" "${names[@]}"

# As if it had been made at its place, by the distribution's own Python.
find "$env/bin" -type l -delete
ln -s "/usr/bin/python$minor" "$env/bin/python$minor"
ln -s "python$minor" "$env/bin/python3"
ln -s python3 "$env/bin/python"
grep -lI "^#!$env/" "$env"/bin/* | xargs sed -i "1s,^#!$env/,#!/opt/edgeai/,"
rm -f "$env"/bin/[Aa]ctivate*
printf 'home = /usr/bin\ninclude-system-site-packages = false\nversion = %s\n' "$minor" > "$env/pyvenv.cfg"
"$python" -m compileall -q -j 0 --invalidation-mode unchecked-hash -s "$stage" "$env/lib" || true
"$here/../install-cart-files.sh" "$checkout" "$stage"

version=${DEB_VERSION:-$(sed -n 's/^version = "\(.*\)"$/\1/p' "$checkout/pyproject.toml" | head -n 1)}
architecture=$(dpkg --print-architecture)
# The newest that any wheel asks for.
glibc=$(ls "$wheels" | grep -oE 'manylinux_2_[0-9]+' | cut -d_ -f2- | tr _ . | sort -V | tail -n 1)
mkdir "$stage/DEBIAN"
install -m 755 "$here"/{preinst,postinst,prerm,postrm} "$stage/DEBIAN"
cat > "$stage/DEBIAN/control" <<EOF
Package: edgeai
Version: $version
Architecture: $architecture
Maintainer: ${DEB_MAINTAINER:-edgeai <root@localhost>}
Installed-Size: $(du -sk --exclude=DEBIAN "$stage" | cut -f1)
Depends: python$minor, libc6 (>= ${glibc:-2.28}), libstdc++6, zlib1g, passwd
Section: science
Priority: optional
Description: inference on medical images at the edge
 One service that runs models on the images of an ultrasound or X-ray system. It is installed switched off:
 write /etc/edgeai/profile.toml, then systemctl enable --now edgeai. Not a medical device.
EOF
(cd "$stage" && find opt usr -type f -print0 | sort -z | xargs -0 md5sum > DEBIAN/md5sums)
mkdir -p "$2"
dpkg-deb --root-owner-group -Z"${DEB_COMPRESSION:-zstd}" --build "$stage" "$2/edgeai_${version}_$architecture.deb" >/dev/null
du -h "$2/edgeai_${version}_$architecture.deb"
