package checklist

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/lockaudit/lockaudit/history"
	"github.com/lockaudit/lockaudit/record"
)

// How far the clocks of two lock servers may be apart.
const (
	// A lease that ends at a time of day is longer or shorter by that much where another
	// server takes over. Redlock allows clocks a hundredth of the lease and 2 ms.
	redlockShare = 100
	redlockRest  = 2 * time.Millisecond
	// Leases on monotonic time do not mind. From here on etcd's members warn of each
	// other's clocks (rafthttp, "prober found high clock drift").
	etcdWarns = time.Second
)

// serverClocks is what inspection read of the lock servers' clocks.
type serverClocks struct {
	// seen is one sentence, also where nothing could be seen; empty if nobody looked.
	seen string
	// apart: two of them certainly differ by more than leases by the wall clock bear,
	// and leases here go by it.
	apart    bool
	evidence []Evidence
}

// compareClocks compares the lock servers' clocks with each other: what the servers show
// themselves, and what their nodes' agents read. Only what one reader read can be
// compared, and of each reading only what its uncertainty leaves.
func compareClocks(run record.Run) serverClocks {
	shown, nodes, unread, asked := clockReadings(run)
	if !asked {
		return serverClocks{}
	}
	byWall := run.Facts == nil || run.Facts.WallClock == nil || *run.Facts.WallClock
	allowed, source := etcdWarns, "the second from which etcd's members warn each other, though no lease here depends on it"
	if ttl := run.Manifest.Subject.TTL; byWall {
		allowed = ttl/redlockShare + redlockRest
		source = fmt.Sprintf("the %s that Redlock allows clocks with a lease of %s", Duration(allowed), Duration(ttl))
	}
	var out serverClocks
	var sentences []string
	for _, group := range []struct {
		what string
		all  []history.Event
	}{{"lock servers", shown}, {"lock nodes", nodes}} {
		if len(group.all) < 2 {
			continue
		}
		x, y, difference, off := farthest(group.all)
		if difference-off > allowed {
			out.apart = out.apart || byWall
			sentences = append(sentences, fmt.Sprintf("the clocks of %s and %s differ by %s (±%s), more than %s",
				x.Node, y.Node, Duration(difference), fine(off), source))
		} else {
			sentences = append(sentences, fmt.Sprintf("the clocks of %d %s differ by at most %s", len(group.all), group.what, fine(difference+off)))
		}
		out.evidence = append(append(out.evidence, ofInspection(x)...), ofInspection(y)...)
	}
	if len(sentences) == 0 {
		sentences, out.evidence = aloneClock(shown, nodes, readerOf(run))
	}
	for _, e := range unread {
		sentences = append(sentences, fmt.Sprintf("the clock of %s could not be read: %s", e.Node, e.Err))
	}
	out.seen = strings.Join(sentences, "; ")
	return out
}

// clockReadings are the readings of inspection: by asking the servers, and by their
// nodes' agents. asked is false for a run whose inspection did not look.
func clockReadings(run record.Run) (shown, nodes, unread []history.Event, asked bool) {
	for _, e := range run.Histories[inspect] {
		switch {
		case e.Op != history.OpClock:
		case e.Type == history.Invoke:
			asked = true
		case e.Type == history.Info:
			unread = append(unread, e)
		case e.Clock == nil:
		case e.Clock.Reader != "":
			shown, asked = append(shown, e), true
		case e.Case == clockOfServer:
			nodes = append(nodes, e)
		}
	}
	return shown, nodes, unread, asked
}

// clockOfServer is the case of a reading of a lock service's node; see package probes.
const clockOfServer = "lock node"

// farthest is the pair that certainly differs most: by how much, and how far off that is
// at most.
func farthest(all []history.Event) (x, y history.Event, difference, off time.Duration) {
	for i, e := range all {
		for _, o := range all[:i] {
			d, u := (e.Clock.Ahead - o.Clock.Ahead).Abs(), e.Clock.Error+o.Clock.Error
			if x.Clock == nil || d-u > difference-off {
				x, y, difference, off = o, e, d, u
			}
		}
	}
	return x, y, difference, off
}

// readerOf is the reading that ties the clock with which the servers' were compared to
// the auditor's; nil if there is none.
func readerOf(run record.Run) *history.Event {
	i := slices.IndexFunc(run.Histories[inspect], func(e history.Event) bool {
		return e.Op == history.OpClock && e.Type == history.OK && e.Clock != nil && e.Clock.Reader == "" && e.Case != clockOfServer
	})
	if i < 0 {
		return nil
	}
	return &run.Histories[inspect][i]
}

// aloneClock tells of a single clock, which can be compared with the auditor's only:
// nobody knows which of the two is right.
func aloneClock(shown, nodes []history.Event, reader *history.Event) (sentences []string, evidence []Evidence) {
	switch {
	case len(nodes) == 1:
		return []string{fmt.Sprintf("against the auditor's clock, that of %s is %s", nodes[0].Node, clockWords(nodes[0].Clock))}, ofInspection(nodes[0])
	case len(shown) == 1 && reader != nil:
		sum := history.Clock{Ahead: shown[0].Clock.Ahead + reader.Clock.Ahead, Error: shown[0].Clock.Error + reader.Clock.Error}
		return []string{fmt.Sprintf("against the auditor's clock, that of %s is %s", shown[0].Node, clockWords(&sum))},
			append(ofInspection(shown[0]), ofInspection(*reader)...)
	case len(shown) == 1:
		return []string{fmt.Sprintf("against the clock of %s, that of %s is %s", shown[0].Clock.Reader, shown[0].Node, clockWords(shown[0].Clock))}, ofInspection(shown[0])
	}
	return []string{"no clock of a lock server can be seen"}, nil
}

func ofInspection(e history.Event) []Evidence {
	return trial{probe: inspect, number: e.Trial}.quote(e, "")
}
