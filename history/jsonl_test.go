package history

import (
	"bytes"
	"errors"
	"strings"
	"testing"
)

func FuzzDecode(f *testing.F) {
	f.Add([]byte(`{"seq":1,"at":5,"actor":"a","op":"acquire","type":"invoke","key":"k"}` + "\n" +
		`{"seq":2,"at":9,"actor":"a","op":"acquire","type":"ok","call":1,"grant":{"token":{"id":"7","order":"7"},"ttl":10,"since":3}}` + "\n"))
	f.Add([]byte(`{"seq":1,"op":"write","type":"fail","write":{"token":{"id":"x"},"seq":3},"code":"stale","holding":false,"holder":{"held":true}}`))
	f.Add([]byte("{}\n\n{\"seq\":"))
	f.Fuzz(func(t *testing.T, data []byte) {
		events, _, _ := Decode(bytes.NewReader(data))
		first := encodeAll(t, events)
		again, torn, err := Decode(bytes.NewReader(first))
		if err != nil || torn || len(again) != len(events) {
			t.Fatalf("read back %d of %d events, torn %v, %v", len(again), len(events), torn, err)
		}
		if second := encodeAll(t, again); !bytes.Equal(first, second) {
			t.Fatalf("round trip changed\n%s\ninto\n%s", first, second)
		}
	})
}

func encodeAll(t *testing.T, events []Event) []byte {
	t.Helper()
	var out bytes.Buffer
	for _, e := range events {
		if err := Encode(&out, e); err != nil {
			t.Fatal(err)
		}
	}
	return out.Bytes()
}

func TestDecodeStopsAtDamage(t *testing.T) {
	const line = `{"seq":1,"at":1,"actor":"a","op":"step","type":"info"}`
	for name, c := range map[string]struct {
		in     string
		events int
		torn   bool
		err    string
	}{
		"empty":           {"", 0, false, ""},
		"whole":           {line + "\n" + line + "\n", 2, false, ""},
		"no last newline": {line + "\n" + line, 2, false, ""},
		"torn":            {line + "\n" + line[:20], 1, true, ""},
		"zeros at end":    {line + "\n\x00\x00\x00", 1, true, ""},
		"bad line":        {line + "\nnonsense\n" + line + "\n", 1, false, "line 2"},
		"bad number":      {line + "\n" + `{"grant":{"token":{"order":"1e5"}}}` + "\n", 1, false, "line 2: decode token"},
		"long line":       {line + "\n" + `{"err":"` + strings.Repeat("x", MaxLine) + `"}` + "\n", 1, false, "line 2: line too long"},
	} {
		t.Run(name, func(t *testing.T) {
			events, torn, err := Decode(strings.NewReader(c.in))
			if len(events) != c.events || torn != c.torn {
				t.Errorf("%d events, torn %v; want %d, %v", len(events), torn, c.events, c.torn)
			}
			if (err == nil) != (c.err == "") || err != nil && !strings.Contains(err.Error(), c.err) {
				t.Errorf("error %v, want %q", err, c.err)
			}
		})
	}
	if err := Encode(&bytes.Buffer{}, Event{Err: strings.Repeat("x", MaxLine)}); !errors.Is(err, ErrLineTooLong) {
		t.Errorf("encode of what cannot be decoded: %v", err)
	}
}

func TestValidate(t *testing.T) {
	invoke := Event{Seq: 1, At: 5, Actor: "a", Op: OpAcquire, Type: Invoke}
	done := Event{Seq: 2, At: 6, Actor: "a", Op: OpAcquire, Type: OK, Call: 1}
	with := func(e Event, change func(*Event)) Event { change(&e); return e }
	for name, c := range map[string]struct {
		events []Event
		want   string
	}{
		"good":            {[]Event{invoke, done}, ""},
		"unknown words":   {[]Event{with(invoke, func(e *Event) { e.Op = "dance" }), {Seq: 2, Op: "x", Type: "y"}}, ""},
		"hole":            {[]Event{invoke, with(done, func(e *Event) { e.Seq = 3 })}, "seq 3"},
		"later call":      {[]Event{invoke, with(done, func(e *Event) { e.Call = 2 })}, "not earlier"},
		"negative call":   {[]Event{invoke, with(done, func(e *Event) { e.Call = -1 })}, "not earlier"},
		"other actor":     {[]Event{invoke, with(done, func(e *Event) { e.Actor = "b" })}, "of a acquire"},
		"other operation": {[]Event{invoke, with(done, func(e *Event) { e.Op = OpRenew })}, "of a acquire"},
		"twice":           {[]Event{invoke, done, with(done, func(e *Event) { e.Seq = 3 })}, "second time"},
		"back in time":    {[]Event{invoke, with(done, func(e *Event) { e.At = 4 })}, "earlier than its call"},
		"not an invoke":   {[]Event{with(invoke, func(e *Event) { e.Type = OK }), done}, "not an invoke"},
		"invoke of call":  {[]Event{invoke, with(done, func(e *Event) { e.Type = Invoke })}, "is an invoke"},
	} {
		t.Run(name, func(t *testing.T) {
			err := Validate(c.events)
			if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v, want %q", err, c.want)
			}
		})
	}
}
