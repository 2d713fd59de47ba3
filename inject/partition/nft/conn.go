// Package nft speaks as much of nf_tables as a partition needs, over one lasting
// netlink socket whose number and namespace are known.
//
// github.com/google/nftables has neither the owner flag nor the fwd expression,
// and hides the socket; the tests use it to look at what this package did.
package nft

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/lockaudit/lockaudit/inject"

	"golang.org/x/sys/unix"
)

// Family is a netfilter protocol family.
type Family uint8

// The families in use.
const (
	INet   Family = unix.NFPROTO_INET
	Netdev Family = unix.NFPROTO_NETDEV
)

func (f Family) String() string {
	if f == Netdev {
		return "netdev"
	}
	return "inet"
}

// received is at least what the kernel puts into one piece of a dump: 32 KB.
const received = 64 << 10

// patience bounds one answer of the kernel, which does not depend on anybody else.
const patience = 5 * time.Second

// Conn is a netlink socket. It is not safe for concurrent use. Tables made with
// Owner live no longer than it.
type Conn struct {
	fd  int
	seq uint32
	buf []byte // of what is received; from the first answer on
}

// ErrNoNftables: the kernel has no nf_tables, and no module of it can be loaded, so
// that no table can be there either.
var ErrNoNftables = errors.New("this kernel has no nf_tables, or may not load it")

// Dial opens a socket in the network namespace of the calling thread.
func Dial() (*Conn, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_NETFILTER)
	if errors.Is(err, unix.EPROTONOSUPPORT) {
		return nil, fmt.Errorf("open netfilter socket: %w: %w: %w", ErrNoNftables, inject.ErrUnsupported, err)
	}
	if errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES) { // a sandbox
		return nil, fmt.Errorf("open netfilter socket: %w: %w", inject.ErrUnsupported, err)
	}
	if err != nil {
		return nil, fmt.Errorf("open netfilter socket: %w", err)
	}
	if err := bind(fd); err != nil {
		_ = unix.Close(fd)
		return nil, fmt.Errorf("bind netfilter socket: %w", err)
	}
	return Adopt(fd)
}

// bind gives the socket a number that none before it had. The kernel would choose
// the process's id again and again, and it removes the tables of a closed socket by
// that number some milliseconds after it is free: those of the next socket too.
func bind(fd int) error {
	for {
		err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Pid: rand.Uint32() | 1<<31})
		if !errors.Is(err, unix.EADDRINUSE) {
			return err
		}
	}
}

// Adopt speaks over a socket that another process opened. The Conn closes it.
func Adopt(fd int) (*Conn, error) {
	tv := unix.NsecToTimeval(int64(patience))
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &tv); err != nil {
		_ = unix.Close(fd)
		return nil, fmt.Errorf("set netfilter socket: %w", err)
	}
	// Numbers that a previous user of the socket has hardly used: a late answer to
	// it is then not taken for ours.
	return &Conn{fd: fd, seq: uint32(time.Now().UnixNano())}, nil
}

// Close closes the socket; the kernel then removes the tables that it owns.
func (c *Conn) Close() error { return unix.Close(c.fd) }

// FD is the socket.
func (c *Conn) FD() int { return c.fd }

// message is one received message without its netlink header.
type message struct {
	kind, flags uint16
	seq         uint32
	data        []byte
}

// errno is what a message of the kind NLMSG_ERROR says; 0 is an acknowledgement.
func (m message) errno() unix.Errno {
	if len(m.data) < 4 {
		return unix.EBADMSG
	}
	return unix.Errno(-int32(binary.NativeEndian.Uint32(m.data)))
}

func (c *Conn) receive(f func(message)) error {
	if c.buf == nil {
		c.buf = make([]byte, received)
	}
	n, _, err := unix.Recvfrom(c.fd, c.buf, 0)
	for err == unix.EINTR {
		n, _, err = unix.Recvfrom(c.fd, c.buf, 0)
	}
	if err != nil {
		return fmt.Errorf("receive from netfilter: %w", err)
	}
	for b := c.buf[:n]; len(b) >= unix.SizeofNlMsghdr; {
		size := int(binary.NativeEndian.Uint32(b))
		if size < unix.SizeofNlMsghdr || size > len(b) {
			return errors.New("receive from netfilter: a message is cut off")
		}
		f(message{
			kind: binary.NativeEndian.Uint16(b[4:]), flags: binary.NativeEndian.Uint16(b[6:]),
			seq: binary.NativeEndian.Uint32(b[8:]), data: b[unix.SizeofNlMsghdr:size],
		})
		b = b[min((size+3)&^3, len(b)):]
	}
	return nil
}

func (c *Conn) send(b []byte) error {
	if err := unix.Sendto(c.fd, b, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return fmt.Errorf("send to netfilter: %w", err)
	}
	return nil
}

// query asks for objects and calls f with the attributes of each. A dump that was
// disturbed by a change is asked for again.
func (c *Conn) query(kind uint16, family Family, dump bool, attrs []byte, f func(attr)) error {
	for {
		again, err := c.queryOnce(kind, family, dump, attrs, f)
		if !again || err != nil {
			return err
		}
	}
}

func (c *Conn) queryOnce(kind uint16, family Family, dump bool, attrs []byte, f func(attr)) (again bool, err error) {
	c.seq++
	flags := uint16(unix.NLM_F_REQUEST | unix.NLM_F_ACK)
	if dump {
		flags = unix.NLM_F_REQUEST | unix.NLM_F_DUMP
	}
	if err := c.send(encode(nil, kind, flags, c.seq, family, attrs)); err != nil {
		return false, err
	}
	var found []attr
	for done := false; !done; {
		var failed error
		err := c.receive(func(m message) {
			switch {
			case m.seq != c.seq:
			case m.kind == unix.NLMSG_ERROR:
				done = true
				if e := m.errno(); e != 0 {
					failed = e
				}
			case m.kind == unix.NLMSG_DONE:
				done = true
			case len(m.data) >= 4:
				again = again || m.flags&unix.NLM_F_DUMP_INTR != 0
				found = append(found, append(attr(nil), m.data[4:]...))
			}
		})
		if err = errors.Join(err, failed); err != nil {
			return false, err
		}
	}
	if !again {
		for _, a := range found {
			f(a)
		}
	}
	return again, nil
}

// encode appends a message with a netlink and a netfilter header.
func encode(b []byte, kind, flags uint16, seq uint32, family Family, attrs []byte) []byte {
	b = binary.NativeEndian.AppendUint32(b, uint32(unix.SizeofNlMsghdr+4+len(attrs)))
	b = binary.NativeEndian.AppendUint16(b, kind)
	b = binary.NativeEndian.AppendUint16(b, flags)
	b = binary.NativeEndian.AppendUint32(b, seq)
	b = binary.NativeEndian.AppendUint32(b, 0)
	res := uint16(0)
	if kind == unix.NFNL_MSG_BATCH_BEGIN || kind == unix.NFNL_MSG_BATCH_END {
		res = unix.NFNL_SUBSYS_NFTABLES
	}
	b = append(b, byte(family), 0)
	b = binary.BigEndian.AppendUint16(b, res)
	return append(b, attrs...)
}
