package checklist

import (
	"fmt"
	"time"

	"github.com/lockaudit/lockaudit/history"
	"github.com/lockaudit/lockaudit/record"
)

// own is what was seen of the application's own lock.
type own struct {
	lease, every time.Duration
	words        string // how often it is renewed
	differs      string // the lease is not the plan's
	late         string // it is renewed too late
	evidence     []Evidence
}

// What a renewal interval is measured against: DynamoDB's client wants the lease three
// times as long, Redisson and Spring renew at a third, Consul at half of it. Looks 200 ms
// apart see an interval a little longer or shorter than it is, so a tenth is allowed.
const (
	latestRenewal = 2 // shares of a lease
	lookError     = 1.1
)

// ownRenewals reads measure-renewals; without it, and where nobody held the lock, the
// plan's lease counts, and a renewal every third of it.
func ownRenewals(run record.Run, planned time.Duration) own {
	o := own{lease: planned, every: planned / renewals, words: "every third (assumed)"}
	if len(run.Histories[measureRenewals]) > 0 {
		o.words = "every third (assumed: no renewal was seen)"
	}
	for _, e := range run.Histories[measureRenewals] {
		s := e.Sample
		if e.Op != history.OpMeasure || e.Type != history.OK || s == nil || s.Unit != history.Nanoseconds {
			continue
		}
		o.evidence = append(o.evidence, trial{probe: measureRenewals, number: e.Trial}.quote(e, "")...)
		if s.Count == 0 {
			continue
		}
		switch s.Name {
		case history.SampleLease:
			o.leased(time.Duration(s.Max), s.Source == "exact", planned)
		case history.SampleRenewal:
			o.every = time.Duration(s.Max)
			o.words = "about every " + Duration(o.every) + " (seen)"
		}
	}
	if limit := time.Duration(lookError * float64(o.lease) / latestRenewal); o.every > limit && o.every < o.lease {
		o.late = fmt.Sprintf("a lease of %s is renewed only about every %s", Duration(o.lease), Duration(o.every))
	}
	o.every = min(o.every, o.lease)
	return o
}

// leased takes the lease that was seen. One of which only a rest was seen shows that
// the plan is wrong if it is longer, and nothing if it is shorter.
func (o *own) leased(seen time.Duration, exact bool, planned time.Duration) {
	apart := seen - planned
	tolerance := max(planned/10, time.Second) // etcd knows whole seconds
	switch {
	case apart > tolerance, exact && -apart > tolerance:
		o.lease, o.every = seen, seen/renewals
		least := ""
		if !exact {
			least = "at least "
		}
		o.differs = fmt.Sprintf("the real lock has a lease of %s%s, and the plan says %s", least, Duration(seen), Duration(planned))
	}
}
