package clients

import (
	"bufio"
	"bytes"
	"encoding/json"
	"io"
	"testing"
	"time"
)

// FuzzDecodeMessage: whatever a client prints, the auditor neither panics nor
// takes a line with two meanings.
func FuzzDecodeMessage(f *testing.F) {
	for _, line := range []string{
		`{"id":1,"ok":{"version":1,"capabilities":["fencing"]},"at_ns":5}`,
		`{"id":2,"ok":{"token":{"id":"7","order":"7"},"ttl_ms":10000}}`,
		`{"id":3,"fail":{"code":"held","err":"x"}}`,
		`{"id":4,"info":{"code":"timeout"}}`,
		`{"event":"renewed","key":"k","ttl_ms":10000,"at_ns":9,"since_ns":3}`,
		`{"event":"lost","key":"k"}`,
		`{"id":5,"ok":{"holder":{"held":true,"left_ms":5}}}`,
		`null`, `[]`, `{}`, "\x00", `{"id":1e9}`,
	} {
		f.Add([]byte(line))
	}
	f.Fuzz(func(t *testing.T, line []byte) {
		m, err := decodeMessage(line)
		if err != nil {
			return
		}
		answers := 0
		for _, set := range []bool{m.OK != nil, m.Fail != nil, m.Info != nil, m.Event != ""} {
			if set {
				answers++
			}
		}
		if answers != 1 || (m.Event == "") != (m.ID > 0) {
			t.Fatalf("%q has %d meanings: %+v", line, answers, m)
		}
		if time.Duration(m.TTLms)*time.Millisecond < 0 || m.AtNs < 0 || (m.AtNs > 0 && m.SinceNs > m.AtNs) {
			t.Fatalf("%q: %+v", line, m)
		}
		again, err := json.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := decodeMessage(again); err != nil {
			t.Fatalf("%q became %q: %v", line, again, err)
		}
		for _, op := range []Op{OpInit, OpAcquire, OpStatus, OpObserve, OpInspect, OpRead} {
			_ = checkAnswer(op, m)
		}
	})
}

// FuzzDecodeRequest: whatever comes down its stdin, a client does not panic.
func FuzzDecodeRequest(f *testing.F) {
	for _, line := range []string{
		`{"id":1,"op":"init","version":1,"node":"a","lock":{"backend":"etcd","endpoints":["h:1"],"key":"k","ttl":1},"resource":{"kind":"http"}}`,
		`{"id":2,"op":"acquire","key":"k","ttl_ms":10000,"wait_ms":5}`,
		`{"id":3,"op":"write","row":"s/r","token":{"id":"7","order":"7"},"value":"v","op_id":"o"}`,
		`{"id":4,"op":"cancel","target":2}`, `{}`, `null`, `{"id":-1}`, `{"id":1,"ttl_ms":99999999999999}`,
	} {
		f.Add([]byte(line))
	}
	f.Fuzz(func(t *testing.T, line []byte) {
		r, err := decodeRequest(line)
		if err != nil {
			return
		}
		if r.ID <= 0 || millis(r.TTLms) < 0 || millis(r.WaitMs) < 0 {
			t.Fatalf("%q: %+v", line, r)
		}
	})
}

// FuzzReadLine: lines come out as they went in, and never longer than allowed.
func FuzzReadLine(f *testing.F) {
	f.Add([]byte("a\nb\n"))
	f.Add([]byte("\r\n\nx"))
	f.Fuzz(func(t *testing.T, data []byte) {
		in, total := bufio.NewReaderSize(bytes.NewReader(data), 16), 0
		for {
			line, err := readLine(in)
			if err != nil {
				if err != io.EOF {
					t.Fatal(err)
				}
				break
			}
			if bytes.ContainsRune(line, '\n') {
				t.Fatalf("line %q has an end in it", line)
			}
			total += len(line)
		}
		if ends := bytes.Count(data, []byte("\n")); total > len(data)-ends || total < len(data)-2*ends {
			t.Fatalf("%d bytes of %d came out", total, len(data))
		}
	})
}
