#!/bin/sh
# Unpacks Debian's sshd for the tests and installs nothing: installed, it would listen on
# this machine from the next boot on.
#
# usage: fetch.sh DIRECTORY
set -eu
dir=$1
test ! -x "$dir/usr/sbin/sshd" || exit 0
mkdir -p "$dir"
work=$(mktemp -d "$dir/fetch.XXXXXX")
trap 'rm -rf "$work"' EXIT INT TERM
cd "$work"
packages=openssh-server
ldconfig -p | grep -q 'libwrap.so.0 ' || packages="$packages libwrap0"
apt-get -q -o APT::Sandbox::User=root download $packages
for p in *.deb; do dpkg-deb -x "$p" "$work/root"; done
cp -a "$work/root/." "$dir/" # sshd last: it says that all is there
