// Package degrade makes the network towards chosen peers worse: slower, lossy,
// narrow, out of order.
//
// netem does it, as one of two bands of a prio queueing discipline at the root of
// the interface by which the peers are reached: filters send what goes to the peers
// into that band, everything else passes in the other.
//
// The kernel does not undo it by itself when the guard is gone, so the journal, the
// guard and the agent's recovery have to. Only an interface whose queueing
// discipline is the kernel's own default is touched: that one comes back when ours
// is removed, and the kernel itself refuses to add ours in place of anybody else's.
package degrade

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"sync"

	"github.com/lockaudit/lockaudit/inject"
	"github.com/lockaudit/lockaudit/inject/netns"

	"github.com/vishvananda/netlink"
)

// Kind is the word for this fault in an order.
const Kind = "degrade"

// Fault is the degraded network. The zero value is not ready; use New.
type Fault struct {
	// supported tries the kernel, once.
	supported func() error
	// step is called between the steps of Inject; tests fail there.
	step func(name string) error
}

// New returns a fault that holds nothing: all that it does is in the kernel.
func New() *Fault {
	return &Fault{supported: sync.OnceValue(try), step: func(string) error { return nil }}
}

// Kind is "degrade".
func (*Fault) Kind() string { return Kind }

// Support answers whether this kernel has netem and what leads packets to it.
func (f *Fault) Support() (bool, string) {
	if err := f.supported(); err != nil {
		return false, err.Error()
	}
	return true, ""
}

// Ask implements inject.Asker.
func (f *Fault) Ask() error { return f.supported() }

// undo is what Revert needs besides the plan's id.
type undo struct {
	Namespace netns.Ref `json:"namespace"`
	Devices   []device  `json:"devices"`
}

// device is an interface as it was before.
type device struct {
	Index  int     `json:"index"`
	Name   string  `json:"name"`
	Before []qdisc `json:"before"`
}

// Prepare finds the interfaces by which the peers are reached and refuses one whose
// queueing discipline somebody has set.
func (f *Fault) Prepare(ctx context.Context, s inject.Spec) (inject.Plan, error) {
	fail := func(err error) (inject.Plan, error) { return inject.Plan{}, fmt.Errorf("prepare degrade: %w", err) }
	if s.For <= 0 {
		return fail(fmt.Errorf("a deadline is mandatory, for is %v: %w", s.For, inject.ErrRefused))
	}
	o, err := decodeParams(s.Params)
	if err != nil {
		return fail(fmt.Errorf("params: %w", err))
	}
	boot, err := inject.BootID()
	if err != nil {
		return fail(err)
	}
	ns, err := o.Netns.Open(ctx)
	if err != nil {
		return fail(err)
	}
	defer ns.Close()
	c, err := dial(ns)
	if err != nil {
		return fail(err)
	}
	defer c.close()
	u := undo{Namespace: ns.Ref}
	if u.Devices, err = c.devicesTo(o.peers); err != nil {
		return fail(err)
	}
	plan := inject.Plan{Spec: s, BootID: boot}
	for i, d := range u.Devices {
		if u.Devices[i].Before, err = c.qdiscsOf(d.Index); err != nil {
			return fail(err)
		}
		if err := refuseForeign(d.Name, u.Devices[i].Before); err != nil {
			return fail(err)
		}
		plan.Objects = append(plan.Objects, fmt.Sprintf("network namespace %v: queueing discipline of %s: prio and netem (%s) towards %s in place of the default %s",
			ns.Ref, d.Name, o.what(), o.towards(), rootOf(u.Devices[i].Before).Kind))
	}
	for _, k := range o.kept {
		plan.Objects = append(plan.Objects, fmt.Sprintf("network namespace %v: leave as it is %s", ns.Ref, k.said))
	}
	if err := f.supported(); err != nil {
		return fail(err)
	}
	if plan.Undo, err = json.Marshal(u); err != nil {
		return fail(err)
	}
	return plan, nil
}

func decodeUndo(b []byte) (undo, error) {
	var u undo
	if err := inject.DecodeStrict(b, &u); err != nil {
		return undo{}, fmt.Errorf("undo: %w", err)
	}
	if u.Namespace.Inode == 0 || len(u.Devices) == 0 {
		return undo{}, errors.New("undo: no namespace or no interface")
	}
	return u, nil
}

// handles are the numbers by which the plan's queueing disciplines are known. They
// are made of the plan, so that another plan's, and anybody else's, are others.
type handles struct {
	root, netem, rest uint32
}

func handlesOf(p inject.Plan) handles {
	h := sha256.Sum256([]byte(p.BootID + "\x00" + p.ID))
	// Below 0x8000, where the kernel starts when it chooses itself, and above what
	// people write by hand.
	major := 0x1000 + uint32(binary.BigEndian.Uint16(h[:]))%0x6ff0
	return handles{netlink.MakeHandle(uint16(major), 0), netlink.MakeHandle(uint16(major+1), 0), netlink.MakeHandle(uint16(major+2), 0)}
}
