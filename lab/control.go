package lab

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"

	"golang.org/x/sys/unix"
)

// The control socket carries one request per connection. The request starts with
// one byte, with which descriptors for the program's stdin, stdout and stderr
// come along; then all is JSON, one request and any number of replies.

// request asks a keeper for something.
type request struct {
	Op   string   `json:"op"`
	Node string   `json:"node,omitempty"`
	Argv []string `json:"argv,omitempty"`
	Env  []string `json:"env,omitempty"`
	Dir  string   `json:"dir,omitempty"`
}

// The operations.
const (
	opExec   = "exec"   // replies: started or err, then exited
	opHealth = "health" // reply: err, empty if all is well
)

// reply is one answer of a keeper.
type reply struct {
	Err     string `json:"err,omitempty"`
	Started bool   `json:"started,omitempty"`
	// Exited: the program ended with Status, which is 128 + the signal's number
	// if it was killed by one, as shells say it.
	Exited bool `json:"exited,omitempty"`
	Status int  `json:"status,omitempty"`
}

// maxRequest bounds a request, in bytes: an environment may be large.
const maxRequest = 8 << 20

// ask sends a request and returns the decoder for its replies.
func ask(conn *net.UnixConn, r request, files ...*os.File) (*json.Decoder, error) {
	var fds []int
	for _, f := range files {
		fds = append(fds, int(f.Fd()))
	}
	var rights []byte
	if len(fds) > 0 {
		rights = unix.UnixRights(fds...)
	}
	if _, _, err := conn.WriteMsgUnix([]byte{0}, rights, nil); err != nil {
		return nil, fmt.Errorf("send request: %w", err)
	}
	if err := json.NewEncoder(conn).Encode(r); err != nil {
		return nil, fmt.Errorf("send request: %w", err)
	}
	return json.NewDecoder(conn), nil
}

// receive reads a request. The caller closes the files, also after an error.
func receive(conn *net.UnixConn) (r request, files []*os.File, err error) {
	oob := make([]byte, unix.CmsgSpace(8*4))
	n, oobn, _, _, err := conn.ReadMsgUnix(make([]byte, 1), oob)
	if err != nil {
		return r, nil, fmt.Errorf("receive request: %w", err)
	}
	if n == 0 {
		return r, nil, io.ErrUnexpectedEOF
	}
	messages, err := unix.ParseSocketControlMessage(oob[:oobn])
	if err != nil {
		return r, nil, fmt.Errorf("receive descriptors: %w", err)
	}
	for _, m := range messages {
		fds, err := unix.ParseUnixRights(&m)
		if err != nil {
			return r, files, fmt.Errorf("receive descriptors: %w", err)
		}
		for _, fd := range fds {
			files = append(files, os.NewFile(uintptr(fd), "received"))
		}
	}
	if err := json.NewDecoder(io.LimitReader(conn, maxRequest)).Decode(&r); err != nil {
		return r, files, fmt.Errorf("receive request: %w", err)
	}
	return r, files, nil
}

// health asks a lab's keeper whether all is well.
func (p place) health() error {
	conn, err := p.dial()
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	replies, err := ask(conn, request{Op: opHealth})
	if err != nil {
		return err
	}
	var r reply
	if err := replies.Decode(&r); err != nil {
		return fmt.Errorf("ask keeper: %w", err)
	}
	if r.Err != "" {
		return errors.New(r.Err)
	}
	return nil
}
