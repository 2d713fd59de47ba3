package history

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// MaxLine bounds one line of a history in bytes. The longest honest events carry
// an error text of a few kilobytes.
const MaxLine = 1 << 20

// ErrLineTooLong means that a line exceeds MaxLine.
var ErrLineTooLong = errors.New("line too long")

// Encode writes e as one line with a single call of w.Write, so that a crash tears
// at most the last line.
func Encode(w io.Writer, e Event) error {
	line, err := json.Marshal(e)
	if err != nil {
		return fmt.Errorf("encode event: %w", err)
	}
	if len(line) >= MaxLine {
		return fmt.Errorf("encode event: %w: %d bytes", ErrLineTooLong, len(line))
	}
	if _, err := w.Write(append(line, '\n')); err != nil {
		return fmt.Errorf("write event: %w", err)
	}
	return nil
}

// Decode reads a history. torn reports that the last line has no end and is not
// an event, as a crash in the middle of a write leaves it; that line is dropped
// and is no error.
//
// On an error the events before the bad line are returned, and nothing after it:
// a prefix of a history is a history, while one with a hole could make a release
// disappear and a sound lock look broken.
func Decode(r io.Reader) (events []Event, torn bool, err error) {
	in := bufio.NewReader(r)
	for number := 1; ; number++ {
		line, ended, err := readLine(in)
		if err != nil {
			return events, false, fmt.Errorf("decode history: line %d: %w", number, err)
		}
		if len(bytes.TrimSpace(line)) > 0 {
			var e Event
			err := json.Unmarshal(line, &e)
			switch {
			case err == nil:
				events = append(events, e)
			case !ended:
				return events, true, nil
			default:
				return events, false, fmt.Errorf("decode history: line %d: %w", number, err)
			}
		}
		if !ended {
			return events, false, nil
		}
	}
}

// readLine returns the next line without its end. ended is false at the end of
// the input.
func readLine(in *bufio.Reader) (line []byte, ended bool, err error) {
	for {
		part, err := in.ReadSlice('\n')
		line = append(line, part...)
		if len(line) > MaxLine {
			return nil, false, fmt.Errorf("%w: more than %d bytes", ErrLineTooLong, MaxLine)
		}
		switch {
		case err == nil:
			return line[:len(line)-1], true, nil
		case errors.Is(err, io.EOF):
			return line, false, nil
		case !errors.Is(err, bufio.ErrBufferFull):
			return nil, false, err
		}
	}
}
