#!/bin/sh
# Fetches and unpacks, without installing anything, what `make test-vm` boots: Debian's
# cloud kernels of bookworm (6.1) and, because it is older than nftables tables with an
# owner, of bullseye (5.10); and NTP clients, which must never run on this machine.
#
# usage: fetch.sh DIRECTORY
set -eu
dir=$1
mkdir -p "$dir"
work=$(mktemp -d "$dir/fetch.XXXXXX")
trap 'rm -rf "$work"' EXIT INT TERM
chmod 755 "$work"

# sources NAME SUITE...: an apt configuration of its own, so that neither the machine's
# sources nor its package lists are changed. Sets $options.
sources() {
	apt=$work/$1
	shift
	mkdir -p "$apt/lists/partial" "$apt/cache/archives/partial"
	: >"$apt/sources.list"
	for suite; do
		case $suite in
		*-security) url=http://deb.debian.org/debian-security ;;
		*) url=http://deb.debian.org/debian ;;
		esac
		echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $url $suite main" >>"$apt/sources.list"
	done
	options="-q -o Dir::Etc::SourceList=$apt/sources.list -o Dir::Etc::SourceParts=/dev/null
		-o Dir::State::Lists=$apt/lists -o Dir::Cache=$apt/cache -o APT::Sandbox::User=root
		-o Acquire::Languages=none -o Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false"
	apt-get $options update
}

# unpack NAME PACKAGE...: into $dir/NAME, whole or not at all.
unpack() {
	name=$1
	shift
	(cd "$apt" && apt-get $options download "$@")
	for package; do
		dpkg-deb -x "$apt/$package"_*.deb "$apt/root"
	done
	echo "$@" >"$apt/root/done"
	rm -rf "${dir:?}/$name"
	mv "$apt/root" "$dir/$name"
}

# kernel SERIES SUITE...
kernel() {
	test ! -e "$dir/$1/done" || return 0
	sources "$@"
	package=$(apt-cache $options depends linux-image-cloud-amd64 | sed -n 's/^ *Depends: //p' | head -n 1)
	test -n "$package" || { echo "fetch.sh: no cloud kernel $1" >&2; exit 1; }
	unpack "$1" "$package"
	ls "$dir/$1/boot/vmlinuz-$1"* >/dev/null
}

kernel 6.1 bookworm bookworm-security
kernel 5.10 bullseye

# clients NAME PACKAGE...: in a directory of their own, because two bring an ntpd.
clients() {
	name=$1
	shift
	test "$(cat "$dir/$name/done" 2>/dev/null)" != "$*" || return 0
	sources "$name" bookworm
	unpack "$name" "$@"
}

clients ntp chrony systemd-timesyncd ntpsec
clients openntpd openntpd

# The clients use this machine's libraries.
missing=$(ldd "$dir/ntp/usr/sbin/chronyd" "$dir/ntp/usr/sbin/ntpd" "$dir/openntpd/usr/sbin/ntpd" | sed -n 's/ *=> not found//p')
test -z "$missing" || { echo "fetch.sh: the NTP clients need" $missing "; run: sudo apt-get install libbsd0 libcap2 libedit2 libgnutls30 libseccomp2 libssl3" >&2; exit 1; }
