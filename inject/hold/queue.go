package hold

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// queue reads one queue of packets (nfnetlink_queue). It takes only their numbers,
// not the packets.
type queue struct {
	file   *os.File // its poller wakes the reader when it is closed
	number uint16
	done   chan struct{}

	mu      sync.Mutex
	waiting []uint32 // numbers of the packets that are kept, in order
	acks    chan unix.Errno
	seq     uint32
}

// The protocol, of linux/netfilter/nfnetlink_queue.h.
const (
	msgPacket, msgVerdict, msgConfig, msgVerdictBatch = 0, 1, 2, 3

	attrPacketHdr, attrVerdictHdr = 1, 2 // NFQA_PACKET_HDR, NFQA_VERDICT_HDR

	attrCommand, attrParams, attrMaxLen, attrMask, attrFlags = 1, 2, 3, 4, 5 // NFQA_CFG_*

	commandBind   = 1
	copyMeta      = 1
	flagSegments  = 4 // NFQA_CFG_F_GSO: large packets as they are
	verdictAccept = 1
)

// most is how many packets are kept; the kernel drops more. What a client has in
// flight is far below.
const most = 4096

// patience bounds one answer of the kernel.
const patience = 5 * time.Second

// open binds the queue, in the network namespace of this thread.
func open(number uint16) (*queue, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_NETFILTER)
	if err != nil {
		return nil, fmt.Errorf("open queue: %w", err)
	}
	// A number of its own, for the reason that package nft gives.
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Pid: rand.Uint32() | 1<<31}); err != nil {
		return nil, errors.Join(fmt.Errorf("open queue: %w", err), unix.Close(fd))
	}
	q := &queue{file: os.NewFile(uintptr(fd), "nfqueue"), number: number, done: make(chan struct{}), acks: make(chan unix.Errno, 1)}
	go q.read()
	for _, config := range [][]byte{
		attr(attrCommand, commandBind, 0, 0, 0),
		append(attr(attrMask, 0, 0, 0, flagSegments), attr(attrFlags, 0, 0, 0, flagSegments)...),
		limit(),
		attr(attrParams, 0, 0, 0, 0, copyMeta), // packed: a range of 4 bytes, the mode
	} {
		if err := q.ask(msgConfig, config); err != nil {
			q.Close()
			return nil, fmt.Errorf("open queue %d: %w", number, err)
		}
	}
	return q, nil
}

// read notes the numbers of packets, and hands on answers, until it is closed.
func (q *queue) read() {
	defer close(q.done)
	b := make([]byte, 64<<10)
	for {
		n, err := q.file.Read(b)
		if errors.Is(err, unix.ENOBUFS) {
			continue // numbers were lost; a verdict on a later one counts for them
		}
		if err != nil {
			return
		}
		for m := b[:n]; len(m) >= unix.SizeofNlMsghdr; {
			size := int(binary.NativeEndian.Uint32(m))
			if size < unix.SizeofNlMsghdr || size > len(m) {
				break
			}
			q.message(binary.NativeEndian.Uint16(m[4:]), m[unix.SizeofNlMsghdr:size])
			m = m[min((size+3)&^3, len(m)):]
		}
	}
}

func (q *queue) message(kind uint16, data []byte) {
	switch {
	case kind == unix.NLMSG_ERROR && len(data) >= 4:
		select {
		case q.acks <- unix.Errno(-int32(binary.NativeEndian.Uint32(data))):
		default:
		}
	case kind == unix.NFNL_SUBSYS_QUEUE<<8|msgPacket && len(data) > 4:
		// struct nfgenmsg, then attributes; the packet's header begins with its number.
		for a := data[4:]; len(a) >= 8; {
			size := int(binary.NativeEndian.Uint16(a))
			if size < 4 || size > len(a) {
				return
			}
			if binary.NativeEndian.Uint16(a[2:]) == attrPacketHdr && size >= 8 {
				q.mu.Lock()
				q.waiting = append(q.waiting, binary.BigEndian.Uint32(a[4:]))
				q.mu.Unlock()
				return
			}
			a = a[min((size+3)&^3, len(a)):]
		}
	}
}

// ask sends a request and waits for the kernel's answer to it.
func (q *queue) ask(kind uint16, attrs []byte) error {
	q.seq++
	b := binary.NativeEndian.AppendUint32(nil, uint32(unix.SizeofNlMsghdr+4+len(attrs)))
	b = binary.NativeEndian.AppendUint16(b, unix.NFNL_SUBSYS_QUEUE<<8|kind)
	b = binary.NativeEndian.AppendUint16(b, unix.NLM_F_REQUEST|unix.NLM_F_ACK)
	b = binary.NativeEndian.AppendUint32(b, q.seq)
	b = binary.NativeEndian.AppendUint32(b, 0)
	b = append(b, unix.AF_UNSPEC, 0)
	b = binary.BigEndian.AppendUint16(b, q.number)
	if _, err := q.file.Write(append(b, attrs...)); err != nil {
		return err
	}
	select {
	case n := <-q.acks:
		if n != 0 {
			return n
		}
		return nil
	case <-q.done:
		return os.ErrClosed
	case <-time.After(patience):
		return errors.New("netfilter does not answer")
	}
}

// Release implements partition.Taken: it lets go of all that is kept, in order, and
// looks that nothing is left.
func (q *queue) Release() (int, error) {
	released := 0
	for end := time.Now().Add(patience); ; {
		// What was queued before the kernel's answer has been noted after it.
		if err := q.ask(msgConfig, limit()); err != nil {
			return released, fmt.Errorf("read queue %d: %w", q.number, err)
		}
		q.mu.Lock()
		now := q.waiting
		q.waiting = nil
		q.mu.Unlock()
		if len(now) == 0 {
			return released, nil
		}
		// A verdict on a number counts for all before it.
		verdict := binary.BigEndian.AppendUint32(nil, verdictAccept)
		verdict = binary.BigEndian.AppendUint32(verdict, now[len(now)-1])
		// ENOENT: the kernel has dropped them, as it does when a hook is removed.
		if err := q.ask(msgVerdictBatch, attr(attrVerdictHdr, verdict...)); err != nil && !errors.Is(err, unix.ENOENT) {
			return released, fmt.Errorf("release %d packets: %w", len(now), err)
		} else if err == nil {
			released += len(now)
		}
		if time.Now().After(end) {
			return released, fmt.Errorf("release: packets keep coming after %v", patience)
		}
	}
}

// Close implements partition.Taken.
func (q *queue) Close() {
	_ = q.file.Close() // its error would not change that it is closed
	<-q.done
}

// limit is the most that the kernel keeps.
func limit() []byte { return attr(attrMaxLen, binary.BigEndian.AppendUint32(nil, most)...) }

// attr is one netlink attribute.
func attr(kind uint16, data ...byte) []byte {
	b := binary.NativeEndian.AppendUint16(nil, uint16(4+len(data)))
	b = binary.NativeEndian.AppendUint16(b, kind)
	b = append(b, data...)
	for len(b)%4 != 0 {
		b = append(b, 0)
	}
	return b
}
