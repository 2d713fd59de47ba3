// Package wire is how the harness and the init of a virtual machine talk over one
// byte stream: frames that belong to a running program each.
package wire

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"sync"
)

// Kind says what a frame is.
type Kind byte

// The kinds. Towards the machine: Start, Stdin, StdinEnd, Kill, End. From it: Hello,
// Stdout, Stderr, Exit.
const (
	Hello    Kind = iota + 1 // the machine is up; the data is what it wants to say, JSON
	Start                    // JSON of Program; the stream is a new number
	Stdin                    // bytes
	StdinEnd                 // no more of them
	Stdout                   // bytes
	Stderr                   // bytes
	Exit                     // JSON of Status: the program has ended, and all output came before
	Kill                     // end the program, as the loss of its terminal would: SIGKILL to its group
	End                      // JSON of Ending: the machine shall go down
)

// Program is what to run.
type Program struct {
	Argv []string `json:"argv"`
	Env  []string `json:"env,omitempty"`
}

// Status is how a program ended.
type Status struct {
	Code int    `json:"code"`
	Err  string `json:"err,omitempty"` // why it could not be started, or what killed it
}

// Ending is how a machine goes down.
type Ending string

// The endings; a power cut needs no word.
const (
	PowerOff Ending = "power off"
	Reboot   Ending = "reboot"
)

// Frame is one message.
type Frame struct {
	Kind   Kind
	Stream uint32
	Data   []byte
}

// MaxData bounds a frame: what is longer is not of this protocol.
const MaxData = 1 << 20

// Conn sends and receives frames. Send may be called concurrently, Receive may not.
type Conn struct {
	mu sync.Mutex
	w  io.Writer
	r  *bufio.Reader
}

// New speaks over rw.
func New(rw io.ReadWriter) *Conn { return &Conn{w: rw, r: bufio.NewReaderSize(rw, 64<<10)} }

// Send writes one frame, whole.
func (c *Conn) Send(f Frame) error {
	if len(f.Data) > MaxData {
		return fmt.Errorf("send frame: %d bytes, at most %d", len(f.Data), MaxData)
	}
	b := make([]byte, 9, 9+len(f.Data))
	b[0] = byte(f.Kind)
	binary.BigEndian.PutUint32(b[1:], f.Stream)
	binary.BigEndian.PutUint32(b[5:], uint32(len(f.Data)))
	c.mu.Lock()
	defer c.mu.Unlock()
	_, err := c.w.Write(append(b, f.Data...))
	return err
}

// Receive reads one frame.
func (c *Conn) Receive() (Frame, error) {
	var h [9]byte
	if _, err := io.ReadFull(c.r, h[:]); err != nil {
		return Frame{}, err
	}
	f := Frame{Kind: Kind(h[0]), Stream: binary.BigEndian.Uint32(h[1:])}
	n := binary.BigEndian.Uint32(h[5:])
	if f.Kind < Hello || f.Kind > End || n > MaxData {
		return Frame{}, fmt.Errorf("receive frame: kind %d of %d bytes is not of this protocol", f.Kind, n)
	}
	f.Data = make([]byte, n)
	if _, err := io.ReadFull(c.r, f.Data); err != nil {
		return Frame{}, fmt.Errorf("receive frame: %w", err)
	}
	return f, nil
}

// Writer sends what is written to it as frames of one kind and stream.
func (c *Conn) Writer(k Kind, stream uint32) io.Writer { return writer{c, k, stream} }

type writer struct {
	c      *Conn
	kind   Kind
	stream uint32
}

func (w writer) Write(b []byte) (int, error) {
	for sent := 0; sent < len(b); {
		n := min(len(b)-sent, 32<<10)
		if err := w.c.Send(Frame{w.kind, w.stream, b[sent : sent+n]}); err != nil {
			return sent, err
		}
		sent += n
	}
	return len(b), nil
}
