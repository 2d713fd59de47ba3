package zookeeper

import "strings"

// bugs that lose a lock, or keep one for ever: those that the release notes of a line of
// versions say were fixed in it, as of November 2026. Each older version of that line has
// the bug; of other lines nothing is said here.
var bugs = []struct{ line, fixed, what string }{
	{"3.4", "3.4.4", "ZOOKEEPER-1496: an ephemeral node stays after its client has gone"},
	{"3.4", "3.4.11", "ZOOKEEPER-2355: an ephemeral node is never deleted if a follower fails while it reads the proposal"},
	{"3.5", "3.5.10", "ZOOKEEPER-4262: a follower keeps transactions that were never committed (DIFF sync), so that servers differ"},
	{"3.9", "3.9.2", "ZOOKEEPER-4785: a committed transaction can be lost by a race in DIFF sync"},
	{"3.9", "3.9.3", "ZOOKEEPER-4712: a follower or observer that is shut down in part may come to differ from the others"},
}

// bugsOf a version, each with its release notes. A distribution may have mended it.
func bugsOf(version string) (out []string) {
	for _, b := range bugs {
		if strings.HasPrefix(version, b.line+".") && versionLess(version, b.fixed) {
			out = append(out, b.what+"; fixed in "+b.fixed+", https://zookeeper.apache.org/doc/r"+b.fixed+"/releasenotes.html")
		}
	}
	return out
}
