// Package partition drops the traffic between a network namespace and its peers,
// as a cut cable drops it: without a word to either side.
//
// What arrives is dropped in the INPUT hook. What leaves is taken in the netdev
// egress hook of every interface and forwarded to the loopback device, which
// drops it as not addressed to it. A drop in OUTPUT would give the sender EPERM,
// a drop in the egress hook ENOBUFS, and both would keep TCP's retransmission
// timer from backing off.
//
// Two things in the kernel end the fault whatever happens to the processes: the
// table is owned by this process's socket and gone when that is, and every peer
// is a set element that ends by itself at the deadline.
package partition

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"sync"

	"github.com/lockaudit/lockaudit/inject"
	"github.com/lockaudit/lockaudit/inject/partition/nft"
)

// Kind is the word for this fault in an order.
const Kind = "partition"

// Fault is the partition. The zero value is not ready; use New.
type Fault struct {
	owner uint32 // table flags; 0 as on a kernel before 5.12
	// step is called between the steps of Inject; tests fail there.
	step func(name string) error

	mu       sync.Mutex
	plans    map[string]*held // by plan id
	missing  error            // what Support found: nothing works,
	noEgress error            // or nothing that leaves can be cut
	// last is what Prepare decoded last: Inject follows it closely, and 10 000 peers
	// take 5 ms to decode.
	last struct {
		params []byte
		cut    cut
	}
}

// New returns a partition that holds nothing yet.
func New() *Fault {
	return &Fault{owner: nft.Owner, plans: map[string]*held{}, step: func(string) error { return nil }}
}

// Kind is "partition".
func (*Fault) Kind() string { return Kind }

// undo is what Revert needs besides the plan's id and params.
type undo struct {
	Namespace namespaceRef `json:"namespace"`
	// Devices are the interfaces whose egress is cut.
	Devices []string `json:"devices,omitempty"`
}

// tableName is the name of a plan's tables: one of the family inet and, where
// what leaves is cut, one of the family netdev.
func tableName(p inject.Plan) string { return "lockaudit-" + p.ID }

// markName is the name of an empty chain by which a later process knows that a
// table of our name is this plan's. It goes with what the plan says, and older
// kernels, which keep no user data with a table, keep it too.
func markName(p inject.Plan) string {
	h := sha256.New()
	for _, part := range [][]byte{[]byte(p.BootID), p.Spec.Params, p.Undo} {
		h.Write(part)
		h.Write([]byte{0})
	}
	return "plan-" + hex.EncodeToString(h.Sum(nil))[:32]
}

// Prepare checks the peers, finds the namespace and refuses what must stay reachable.
func (f *Fault) Prepare(ctx context.Context, s inject.Spec) (inject.Plan, error) {
	fail := func(err error) (inject.Plan, error) { return inject.Plan{}, fmt.Errorf("prepare partition: %w", err) }
	if s.For <= 0 {
		return fail(fmt.Errorf("a deadline is mandatory, for is %v: %w", s.For, inject.ErrRefused))
	}
	p, err := decodeParams(s.Params)
	if err != nil {
		return fail(fmt.Errorf("params: %w", err))
	}
	f.mu.Lock()
	f.last.params, f.last.cut = bytes.Clone(s.Params), p
	f.mu.Unlock()
	boot, err := inject.BootID()
	if err != nil {
		return fail(err)
	}
	ns, err := p.Netns.open()
	if err != nil {
		return fail(err)
	}
	defer ns.close()
	if err := ns.identify(); err != nil {
		return fail(err)
	}
	seen, err := ns.look()
	if err != nil {
		return fail(err)
	}
	if err := p.refuseOwn(seen.addresses); err != nil {
		return fail(err)
	}
	u := undo{Namespace: ns.ref}
	if p.out() {
		u.Devices = seen.devices
	}
	if err := f.feasible(p); err != nil {
		return fail(err)
	}
	plan := inject.Plan{Spec: s, BootID: boot, Objects: objects(p, ns.ref, u.Devices)}
	if plan.Undo, err = json.Marshal(u); err != nil {
		return fail(err)
	}
	return plan, nil
}

// objects says in words what Inject would make.
func objects(p cut, ns namespaceRef, devices []string) []string {
	in := "network namespace " + ns.String() + ": "
	var out []string
	if p.in() {
		out = append(out, in+"nftables table inet lockaudit-ID: drop "+p.what()+" from "+p.peers.String())
	}
	if p.out() {
		out = append(out, in+"nftables table netdev lockaudit-ID on "+list(devices)+": drop "+p.what()+" to "+p.peers.String())
	}
	for _, e := range p.kept {
		out = append(out, in+"keep "+e.String())
	}
	return out
}

func decodeUndo(b []byte) (undo, error) {
	var u undo
	if err := inject.DecodeStrict(b, &u); err != nil {
		return undo{}, fmt.Errorf("undo: %w", err)
	}
	if u.Namespace.Inode == 0 {
		return undo{}, errors.New("undo: no namespace")
	}
	return u, nil
}

// decoded is decodeParams without doing the same twice.
func (f *Fault) decoded(params []byte) (cut, error) {
	f.mu.Lock()
	last := f.last
	f.mu.Unlock()
	if len(params) > 0 && bytes.Equal(last.params, params) {
		return last.cut, nil
	}
	return decodeParams(params)
}
