package clients

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"

	"github.com/lockaudit/lockaudit/history"
)

// errLineTooLong means that a line exceeds maxLine.
var errLineTooLong = fmt.Errorf("line longer than %d bytes", maxLine)

// readLine returns the next line without its end. At the end of the input a last
// line without an end is returned first, and io.EOF after it. An over-long line
// is an error and its beginning is returned for the words of it.
func readLine(in *bufio.Reader) ([]byte, error) {
	var line []byte
	for {
		part, err := in.ReadSlice('\n')
		line = append(line, part...)
		if len(line) > maxLine {
			return line, errLineTooLong
		}
		switch {
		case err == nil:
			return bytes.TrimSuffix(line[:len(line)-1], []byte("\r")), nil
		case errors.Is(err, io.EOF) && len(line) > 0:
			return line, nil
		case !errors.Is(err, bufio.ErrBufferFull):
			return nil, err
		}
	}
}

// decodeRequest reads one line to a client. Unknown fields are tolerated, so that
// a later auditor can say more to an older client.
func decodeRequest(line []byte) (Request, error) {
	var r Request
	if err := json.Unmarshal(line, &r); err != nil {
		return Request{}, fmt.Errorf("decode request: %w", err)
	}
	if r.ID <= 0 {
		return Request{}, errors.New("decode request: id is not a positive number")
	}
	if r.TTLms < 0 || r.WaitMs < 0 || r.TTLms > maxMillis || r.WaitMs > maxMillis {
		return r, errors.New("decode request: duration out of range")
	}
	return r, nil
}

// maxMillis keeps a duration in milliseconds within time.Duration: about 31 years.
const maxMillis = 1_000_000_000_000

// decodeMessage reads one line from a client and checks what can be checked
// without knowing the request: that it is either an answer with exactly one
// outcome or an event of a known kind.
func decodeMessage(line []byte) (Message, error) {
	var m Message
	if err := json.Unmarshal(line, &m); err != nil {
		return Message{}, fmt.Errorf("decode message: %w", err)
	}
	outcomes := 0
	for _, set := range []bool{m.OK != nil, m.Fail != nil, m.Info != nil} {
		if set {
			outcomes++
		}
	}
	switch {
	case m.AtNs < 0 || m.SinceNs < 0:
		return Message{}, errors.New("decode message: negative clock")
	case m.SinceNs > 0 && m.AtNs > 0 && m.SinceNs > m.AtNs:
		return Message{}, errors.New("decode message: since_ns is later than at_ns")
	case m.TTLms < 0 || m.TTLms > maxMillis:
		return Message{}, errors.New("decode message: ttl_ms out of range")
	case m.Event != "":
		return m, checkEvent(m, outcomes)
	case m.ID <= 0:
		return Message{}, errors.New("decode message: neither the id of a request nor an event")
	case outcomes != 1:
		return Message{}, fmt.Errorf("decode message: %d outcomes, want one of ok, fail, info", outcomes)
	case m.OK != nil && (m.OK.TTLms < 0 || m.OK.TTLms > maxMillis):
		return Message{}, errors.New("decode message: ttl_ms out of range")
	}
	return m, nil
}

func checkEvent(m Message, outcomes int) error {
	switch {
	case m.Event != EventRenewed && m.Event != EventLost:
		return fmt.Errorf("decode message: unknown event %q", m.Event)
	case m.ID != 0 || outcomes != 0:
		return errors.New("decode message: an event and an answer in one line")
	}
	return nil
}

// checkAnswer refuses an ok without the fields that its verb promises, and a fail
// without a code: a judge would take their absence for a fact.
func checkAnswer(op Op, m Message) error {
	if m.Fail != nil {
		return checkFail(op, m.Fail.Code)
	}
	if m.OK == nil {
		return nil
	}
	missing := ""
	switch a := m.OK; {
	case op == OpInit && a.Version != Version:
		return fmt.Errorf("init answered with protocol version %d, want %d", a.Version, Version)
	case op == OpAcquire && (a.Token == nil || a.Token.IsZero()):
		missing = "token"
	case op == OpStatus && a.Holding == nil:
		missing = "holding"
	case op == OpObserve && a.Holder == nil:
		missing = "holder"
	case op == OpInspect && a.Facts == nil:
		missing = "facts"
	}
	if missing != "" {
		return fmt.Errorf("ok to %s without %s", op, missing)
	}
	return nil
}

// checkFail accepts the codes that say "it did not happen". Timeout and exited
// are reasons for info, and a client that fails with them has confused the two.
func checkFail(op Op, code history.Code) error {
	switch code {
	case history.CodeHeld, history.CodeLost, history.CodeStale, history.CodeRefused:
		return nil
	}
	return fmt.Errorf("fail to %s with code %q, want held, lost, stale or refused", op, code)
}

// quote shortens a line for an error message, in bytes.
func quote(line []byte) string {
	const most = 120
	if len(line) > most {
		return strconv.Quote(string(line[:most])) + "…"
	}
	return strconv.Quote(string(line))
}
