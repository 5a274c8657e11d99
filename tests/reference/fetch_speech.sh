#!/bin/sh
# Fetches spoken English prompts (Allison Smith, CC BY-SA 3.0) from Debian's package of Asterisk's sounds, without
# installing it. Usage: tests/reference/fetch_speech.sh   (needs apt-get and dpkg-deb, no root)
set -eu

package=asterisk-core-sounds-en-g722
folder="${SYRINX_REFERENCE_MODELS:-${XDG_CACHE_HOME:-$HOME/.cache}/syrinx/reference}"
mkdir -p "$folder"
if [ ! -d "$folder/prompts" ]; then
    download="$(mktemp -d)"
    # As root, apt would hand the download to a user who may not write here.
    (cd "$download" && apt-get download -qq -o APT::Sandbox::User=root "$package") || {
        echo "$0: cannot download $package; on Debian, run apt-get update first" >&2
        exit 1
    }
    dpkg-deb -x "$download/$package"_*.deb "$download/tree"
    mv "$download/tree/usr/share/asterisk/sounds" "$folder/prompts"
    rm -r "$download"
fi
echo "$folder/prompts"
