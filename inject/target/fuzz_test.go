package target

import (
	"encoding/json"
	"testing"
)

// FuzzParse: what is accepted comes back the same, and names exactly one thing.
func FuzzParse(f *testing.F) {
	f.Add([]byte(`{"pid":7,"start_time":8}`))
	f.Add([]byte(`{"cmdline":["a","b"]}`))
	f.Add([]byte(`{"cmdline":"a b"}`))
	f.Add([]byte(`{"port":6379,"proto":"tcp","netns":"/run/netns/a"}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := Parse(b)
		if err != nil {
			return
		}
		if len(s.ways()) != 1 || s.IsZero() || s.String() == "nothing" {
			t.Errorf("%q: %+v", b, s)
		}
		again, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		if back, err := Parse(again); err != nil || back.String() != s.String() {
			t.Errorf("%q: %v, %v", again, back, err)
		}
	})
}

// FuzzCgroup: whatever a path looks like, a unit's or container's group is the
// path or a parent of it.
func FuzzCgroup(f *testing.F) {
	f.Add("/system.slice/a.service/b", "")
	f.Add("/docker/0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef", "0123")
	f.Fuzz(func(t *testing.T, path, prefix string) {
		if unit, group := unitOf(path); len(group) > len(path) || path[:len(group)] != group || (unit == "") != (group == "") {
			t.Errorf("%q: unit %q in %q", path, unit, group)
		}
		if id, group := containerIn(path, prefix); (id == "") != (group == "") {
			t.Errorf("%q: container %q in %q", path, id, group)
		}
		_, _, _ = parseDiag([]byte(path))
	})
}
