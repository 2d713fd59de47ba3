// Package partition drops the traffic between a network namespace, or one process
// in it, and its peers, as a cut cable drops it: without a word to either side.
//
// What arrives is dropped in the INPUT hook. What leaves is handed, as the last
// thing before it goes to a device, to a queue of user space on which nobody
// listens: the kernel then drops it and tells the sender that it was sent. A drop
// in OUTPUT would give the sender EPERM, a drop in the egress hook ENOBUFS, and
// both would keep TCP's retransmission timer from backing off. A kernel without
// such queues forwards it to the loopback device instead, from the egress hook of
// every interface; see way.go.
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
	"github.com/lockaudit/lockaudit/inject/netns"
	"github.com/lockaudit/lockaudit/inject/partition/nft"
)

// Kind is the word for this fault in an order.
const Kind = "partition"

// Fault is the partition. The zero value is not ready; use New.
type Fault struct {
	kind  string
	owner uint32 // table flags; 0 as on a kernel before 5.12
	taker Taker  // nil: what leaves vanishes
	ssh   func() []kept
	// step is called between the steps of Inject; tests fail there.
	step func(name string) error

	mu    sync.Mutex
	plans map[string]*held // by plan id
	found *means           // what the kernel can do, once it was asked
	// last is what Prepare decoded last: Inject follows it closely, and 10 000 peers
	// take 5 ms to decode.
	last struct {
		params []byte
		cut    cut
		raw    []byte
		undo   undo
	}
	spare spare
}

// New returns a partition that holds nothing yet.
func New() *Fault {
	return &Fault{
		kind: Kind, owner: nft.Owner, plans: map[string]*held{}, ssh: sync.OnceValue(controlConnections),
		step: func(string) error { return nil },
	}
}

// Kind is "partition", unless it was made by NewKeeping.
func (f *Fault) Kind() string { return f.kind }

// undo is what Revert needs besides the plan's id and params.
type undo struct {
	Namespace netns.Ref `json:"namespace"`
	// Owner: the table belongs to the socket that made it.
	Owner bool `json:"owner,omitempty"`
	// Way is how what leaves is dropped; Queue is the number of the queue.
	Way   way    `json:"way,omitempty"`
	Queue uint16 `json:"queue,omitempty"`
	// Devices are the interfaces whose egress is cut, if the way is to forward.
	Devices []string `json:"devices,omitempty"`
	// Group is the control group whose packets are cut; nil is everybody's.
	Group *group `json:"group,omitempty"`
}

// tableName is the name of a plan's table, of the family inet and, where what
// leaves is forwarded, of another one of the family netdev.
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
	p, err := f.prepare(ctx, s)
	if err != nil {
		return inject.Plan{}, fmt.Errorf("prepare %s: %w", f.kind, err)
	}
	return p, nil
}

func (f *Fault) prepare(ctx context.Context, s inject.Spec) (inject.Plan, error) {
	none := inject.Plan{}
	if s.For <= 0 {
		return none, fmt.Errorf("a deadline is mandatory, for is %v: %w", s.For, inject.ErrRefused)
	}
	c, err := f.decoded(s.Params)
	if err != nil {
		return none, fmt.Errorf("params: %w", err)
	}
	if err := c.flap.check(s.For); err != nil {
		return none, err
	}
	boot, err := inject.BootID()
	if err != nil {
		return none, err
	}
	var u undo
	if !c.process.IsZero() {
		if c.Netns, u.Group, err = c.scope(ctx); err != nil {
			return none, err
		}
	}
	ns, err := c.Netns.Open(ctx)
	if err != nil {
		return none, err
	}
	defer ns.Close()
	warm()
	m, unknown := f.means() // choose says it
	var conn *nft.Conn
	seen, err := look(ns, unknown != nil || m.way == forward, func() { conn, _ = nft.Dial() }) // Inject says it, if it fails there too
	f.spare.put(conn)
	if err != nil {
		return none, err
	}
	u.Namespace = ns.Ref
	if err := c.refuseOwn(seen.addresses); err != nil {
		return none, err
	}
	if err := f.choose(&u, c, seen); err != nil {
		return none, err
	}
	plan := inject.Plan{Spec: s, BootID: boot, Objects: f.objects(c, u)}
	plan.Undo, err = json.Marshal(u)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.last.raw, f.last.undo = plan.Undo, u
	return plan, err
}

// objects says in words what Inject would make.
func (f *Fault) objects(c cut, u undo) []string {
	in := "network namespace " + u.Namespace.String() + ": "
	whose := ""
	if u.Group != nil {
		whose = ", only packets of " + u.Group.String()
	}
	var out []string
	if c.in() {
		out = append(out, in+"nftables table inet lockaudit-ID: drop "+c.what()+" from "+c.peers.String()+whose)
	}
	switch {
	case f.taker != nil:
		out = append(out, in+"nftables table inet lockaudit-ID: keep back "+c.what()+" to "+c.peers.String()+whose)
	case c.out() && u.Way == forward:
		out = append(out, in+"nftables table netdev lockaudit-ID on "+list(u.Devices)+": drop "+c.what()+" to "+c.peers.String())
	case c.out():
		out = append(out, in+"nftables table inet lockaudit-ID: drop "+c.what()+" to "+c.peers.String()+whose)
	}
	if s := c.flap.String(); s != "" {
		out = append(out, in+s)
	}
	if c.sever {
		out = append(out, in+"reset, before it ends, the TCP connections to "+c.peers.String()+whose)
	}
	for _, e := range c.kept {
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

// undone is what Prepare noted, decoded if it was not the last to do so.
func (f *Fault) undone(b []byte) (undo, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(b) > 0 && bytes.Equal(f.last.raw, b) {
		return f.last.undo, nil
	}
	return decodeUndo(b)
}

// decoded is the order, checked, without doing the same twice.
func (f *Fault) decoded(params []byte) (cut, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(params) > 0 && bytes.Equal(f.last.params, params) {
		return f.last.cut, nil
	}
	c, err := decodeParams(params)
	if err == nil && f.taker != nil {
		err = c.keepOnly()
	}
	if err != nil {
		return cut{}, err
	}
	c.kept = append(c.kept, f.ssh()...)
	f.last.params, f.last.cut = bytes.Clone(params), c
	return c, nil
}
