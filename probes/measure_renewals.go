package probes

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"time"

	"github.com/lockaudit/lockaudit/clients"
	"github.com/lockaudit/lockaudit/history"
	"github.com/lockaudit/lockaudit/locks"
	"github.com/lockaudit/lockaudit/survey"
)

// watchEvery is how often the application's own lock is looked at: one small read of
// the service each time.
const watchEvery = 200 * time.Millisecond

// measureRenewals watches the application's own lock, without touching it: how long
// its lease is, and how often its holder renews it.
func measureRenewals() Probe {
	return Probe{
		Name:    "measure-renewals",
		About:   "how long the lease of the application's own lock is, and how often it is renewed",
		Passive: true,
		Explain: func(p Params) []string {
			return []string{fmt.Sprintf("read %s, the application's own key, every %s for %s from node %s; nothing is written", p.RealKey, watchEvery, p.MeasureFor, p.NodeB)}
		},
		Trial: func(ctx context.Context, t *Trial) error {
			observer, err := t.party(ctx, "observer")
			if err != nil {
				return err
			}
			if !observer.proc.Can(string(locks.Observe)) {
				return fmt.Errorf("%w: the lock client cannot observe", ErrSkip)
			}
			t.step("watch the application's own lock")
			return observer.watchRenewals(ctx)
		},
	}
}

// watchRenewals looks until the time is over. The history has the first look and
// every change of holder; what the others show is in the samples.
func (p *party) watchRenewals(ctx context.Context) error {
	t := p.t
	var looks []survey.Sighting
	began := time.Now()
	until := began.Add(t.MeasureFor)
	t.Progress("watching the application's own lock", until)
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	last := "never looked"
	for time.Now().Before(until) {
		reply, invoke := p.lookAway(ctx, t.RealKey)
		if reply.Type != history.OK || reply.Answer == nil || reply.Answer.Holder == nil {
			return outcome("look at "+t.RealKey, reply)
		}
		h := reply.Answer.Holder
		id := fingerprint(h.ID)
		if now := fmt.Sprint(h.Held, id); now != last {
			last = now
			invoke.Seq = 0
			first := t.record(invoke)
			invoke.Type, invoke.Call = history.OK, first.Seq
			invoke.Holder = &history.Holder{Held: h.Held, ID: id, Left: ms(h.LeftMs), Lease: ms(h.LeaseMs)}
			t.record(invoke)
		}
		if !h.Held {
			looks = append(looks, survey.Sighting{})
		} else {
			looks = append(looks, survey.Sighting{
				Key: t.RealKey, At: time.Now(), Owner: id, Left: ms(h.LeftMs), Leased: h.LeftMs > 0, Granted: ms(h.LeaseMs), Certain: "the plan names it",
			})
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-tick.C:
		}
	}
	p.renewals(looks, time.Since(began))
	return nil
}

// lookAway asks who holds a key, and leaves it to the caller what of it is recorded.
func (p *party) lookAway(ctx context.Context, key string) (clients.Reply, history.Event) {
	ctx, cancel := context.WithTimeout(ctx, callLimit)
	defer cancel()
	e := p.event(history.OpObserve, history.Invoke)
	e.Key = key
	return p.proc.Conn().Do(ctx, clients.Request{Op: clients.OpObserve, Key: key}), e
}

// fingerprint stands for a holder: whoever knows the value itself can release the lock.
func fingerprint(id string) string {
	if id == "" {
		return ""
	}
	sum := sha256.Sum256([]byte(id))
	return "sha256:" + hex.EncodeToString(sum[:6])
}

// renewals records what the looks show together.
func (p *party) renewals(looks []survey.Sighting, over time.Duration) {
	w := survey.Watch{Coarse: resolution(looks)}
	held := 0
	for _, s := range looks {
		if s.Key == "" { // free then
			w.Free(p.t.RealKey)
			continue
		}
		held++
		w.See(s)
	}
	lease, every := history.NewSample(history.SampleLease, nil, over), history.NewSample(history.SampleRenewal, nil, over)
	for _, g := range w.Groups() { // of one key, so there is one at most
		if g.Lease > 0 {
			lease = history.NewSample(history.SampleLease, []time.Duration{g.Lease}, over)
			lease.Source = "at least"
			if g.Exact {
				lease.Source = "exact"
			}
		}
		if g.Every > 0 {
			every = history.NewSample(history.SampleRenewal, []time.Duration{g.Every}, over)
		}
		every.Notes = []string{fmt.Sprintf("%d renewals seen, %d holders", g.Renewals, g.Owners)}
	}
	if held == 0 {
		every.Notes = []string{"nobody held the lock"}
	}
	for _, s := range []history.Sample{lease, every} {
		s.Node = p.proc.Node()
		if s.Source == "" {
			s.Source = fmt.Sprintf("the lock service, asked every %s", watchEvery)
		}
		e := p.event(history.OpMeasure, history.OK)
		e.Key, e.Sample = p.t.RealKey, &s
		p.t.record(e)
	}
}

// resolution in which the service tells the rest of a lease: etcd knows whole seconds.
func resolution(looks []survey.Sighting) time.Duration {
	for _, s := range looks {
		if s.Left%time.Second != 0 {
			return 0
		}
	}
	return time.Second
}
