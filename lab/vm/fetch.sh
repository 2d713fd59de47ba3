#!/bin/sh
# Fetches and unpacks, without installing anything, the kernels that `make test-vm`
# boots: Debian's cloud kernels of bookworm (6.1) and, because it is older than
# nftables tables with an owner, of bullseye (5.10).
#
# usage: fetch.sh DIRECTORY
set -eu
dir=$1
mkdir -p "$dir"
work=$(mktemp -d "$dir/fetch.XXXXXX")
trap 'rm -rf "$work"' EXIT INT TERM
chmod 755 "$work"

# kernel SERIES SUITE...: an apt configuration of its own, so that neither the
# machine's sources nor its package lists are changed.
kernel() {
	series=$1
	shift
	test ! -e "$dir/$series/done" || return 0
	apt=$work/$series
	mkdir -p "$apt/lists/partial" "$apt/cache/archives/partial"
	: >"$apt/sources.list"
	for suite; do
		case $suite in
		*-security) url=http://deb.debian.org/debian-security ;;
		*) url=http://deb.debian.org/debian ;;
		esac
		echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $url $suite main" >>"$apt/sources.list"
	done
	set -- -q -o Dir::Etc::SourceList="$apt/sources.list" -o Dir::Etc::SourceParts=/dev/null \
		-o Dir::State::Lists="$apt/lists" -o Dir::Cache="$apt/cache" -o APT::Sandbox::User=root \
		-o Acquire::Languages=none -o Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false
	apt-get "$@" update
	package=$(apt-cache "$@" depends linux-image-cloud-amd64 | sed -n 's/^ *Depends: //p' | head -n 1)
	test -n "$package" || { echo "fetch.sh: no cloud kernel $series in $suite" >&2; exit 1; }
	(cd "$apt" && apt-get "$@" download "$package")
	dpkg-deb -x "$apt/$package"_*.deb "$apt/root"
	ls "$apt/root/boot/vmlinuz-$series"* >/dev/null
	touch "$apt/root/done"
	rm -rf "${dir:?}/$series"
	mv "$apt/root" "$dir/$series"
}

kernel 6.1 bookworm bookworm-security
kernel 5.10 bullseye
