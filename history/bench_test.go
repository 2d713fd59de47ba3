package history

import (
	"fmt"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
)

// contention is a history of n operations (2n events): clients that take turns,
// each acquiring, renewing, failing to acquire what another holds, and releasing.
func contention(n, clients int) []Event {
	events := make([]Event, 0, 2*n)
	var now time.Duration
	add := func(actor string, op Op, typ Type, g *Grant, code Code) {
		now += time.Microsecond
		invoke := Event{Seq: len(events) + 1, At: now, Trial: 1, Actor: actor, Node: "node", Op: op, Type: Invoke, Key: "key"}
		now += time.Microsecond
		done := invoke
		done.Seq, done.At, done.Type, done.Call, done.Grant, done.Code = invoke.Seq+1, now, typ, invoke.Seq, g, code
		events = append(events, invoke, done)
	}
	names := make([]string, clients)
	for i := range names {
		names[i] = fmt.Sprintf("client-%d", i)
	}
	for turn := 0; len(events) < 2*n; turn++ {
		holder, other := names[turn%clients], names[(turn+1)%clients]
		add(holder, OpAcquire, OK, &Grant{Token: OrderedToken(int64(turn + 1)), TTL: time.Second}, "")
		add(other, OpAcquire, Fail, nil, CodeHeld)
		add(holder, OpRenew, OK, &Grant{TTL: time.Second}, "")
		typ := OK
		if turn%50 == 0 {
			typ = Info
		}
		add(holder, OpRelease, typ, nil, "")
	}
	return events[:2*n]
}

// The figure to hold: 1 000 000 operations in less than a second on one core.
func BenchmarkDoubleGrants(b *testing.B) {
	const n = 1_000_000
	events := contention(n, 50)
	b.ResetTimer()
	for b.Loop() {
		if found := DoubleGrants(events, Options{OwnerCheck: true}); len(found) > 0 {
			b.Fatalf("%d double grants, want none: %+v", len(found), found[0])
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/n, "ns/operation")
}

func BenchmarkCheckTokens(b *testing.B) {
	const n = 1_000_000
	events := contention(n, 50)
	b.ResetTimer()
	for b.Loop() {
		if found := CheckTokens(events); len(found) > 0 {
			b.Fatalf("%d violations, want none", len(found))
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/n, "ns/operation")
}

// What porcupine needs for a history of the length that it can do.
func BenchmarkPorcupine(b *testing.B) {
	const n = 2_000
	model := lockModel(true)
	ops := modelOps(contention(n, maxParties))
	b.ResetTimer()
	for b.Loop() {
		if !porcupine.CheckOperations(model, ops) {
			b.Fatal("not linearizable")
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/n, "ns/operation")
}
