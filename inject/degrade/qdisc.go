package degrade

import (
	"bytes"
	"fmt"
	"slices"
	"strings"

	"github.com/lockaudit/lockaudit/inject"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// qdisc is a queueing discipline as the kernel lists it.
type qdisc struct {
	Kind    string `json:"kind"`
	Handle  uint32 `json:"handle"`
	Parent  uint32 `json:"parent"`
	Options []byte `json:"options,omitempty"`
}

func (q qdisc) String() string { return fmt.Sprintf("%s %x:", q.Kind, q.Handle>>16) }

// qdiscsOf lists what an interface sends through, the root first. What it receives
// through (ingress, clsact) is neither ours to replace nor replaced by us.
func (c *conn) qdiscsOf(index int) ([]qdisc, error) {
	msgs, err := c.request(unix.RTM_GETQDISC, unix.NLM_F_DUMP, &nl.TcMsg{Family: nl.FAMILY_ALL, Ifindex: int32(index)})
	if err != nil {
		return nil, fmt.Errorf("list queueing disciplines: %w", err)
	}
	var out []qdisc
	for _, m := range msgs {
		t := nl.DeserializeTcMsg(m)
		if int(t.Ifindex) != index || t.Parent == netlink.HANDLE_INGRESS {
			continue
		}
		attrs, err := nl.ParseRouteAttr(m[t.Len():])
		if err != nil {
			return nil, fmt.Errorf("list queueing disciplines: %w", err)
		}
		q := qdisc{Handle: t.Handle, Parent: t.Parent}
		for _, a := range attrs {
			switch a.Attr.Type {
			case nl.TCA_KIND:
				q.Kind = string(bytes.TrimRight(a.Value, "\x00"))
			case nl.TCA_OPTIONS:
				q.Options = bytes.Clone(a.Value)
			}
		}
		out = append(out, q)
	}
	slices.SortFunc(out, func(a, b qdisc) int {
		if x, y := a.Parent == netlink.HANDLE_ROOT, b.Parent == netlink.HANDLE_ROOT; x != y {
			if x {
				return -1
			}
			return 1
		}
		return int(int64(a.Parent) - int64(b.Parent))
	})
	return out, nil
}

// rootOf is the discipline at the root; an interface that is down has none.
func rootOf(all []qdisc) qdisc {
	if len(all) > 0 && all[0].Parent == netlink.HANDLE_ROOT {
		return all[0]
	}
	return qdisc{Kind: "none"}
}

// refuseForeign refuses what somebody has set. The kernel gives its own defaults the
// handle 0, which nobody else can. They cannot be changed by anybody either, so that
// what the kernel makes anew, when ours is removed, is what was there.
func refuseForeign(name string, all []qdisc) error {
	for _, q := range all {
		if q.Handle == 0 {
			continue
		}
		where := "at the root of"
		if q.Parent != netlink.HANDLE_ROOT {
			where = "on"
		}
		return fmt.Errorf("%v %s %s is not the kernel's default; somebody has set it, and it would be lost: %w", q, where, name, inject.ErrRefused)
	}
	return nil
}

// leafKind is the default kind of a queue: that of the root, or of the queues of a
// root that has several. "" is none.
func leafKind(all []qdisc) string {
	for _, q := range slices.Backward(all) {
		switch q.Kind {
		case "noqueue", "mq", "none":
		default:
			return q.Kind
		}
	}
	return ""
}

func sameQdiscs(a, b []qdisc) bool {
	return slices.EqualFunc(a, b, func(x, y qdisc) bool {
		return x.Kind == y.Kind && x.Handle == y.Handle && x.Parent == y.Parent && bytes.Equal(x.Options, y.Options)
	})
}

func words(all []qdisc) string {
	var out []string
	for _, q := range all {
		out = append(out, fmt.Sprintf("%v at %x", q, q.Parent))
	}
	return strings.Join(out, ", ")
}
