package vm

import "testing"

func TestChosen(t *testing.T) {
	for _, x := range []struct{ name, run, want string }{
		{"TestVMA", "^TestVM", "^TestVMA$"},
		{"TestVMA", "", "^TestVMA$"},
		{"TestVMA", "^TestVMA$/two", "^TestVMA$/two"},
		{"TestVMA/6.1", "TestVMA", "^TestVMA$/^6\\.1$"},
		{"TestVMA/6.1", "TestVMA/6/^step$/x", "^TestVMA$/^6\\.1$/^step$/x"},
	} {
		if got := chosen(x.name, x.run); got != x.want {
			t.Errorf("%s of %q: %s, want %s", x.name, x.run, got, x.want)
		}
	}
}

func TestSection(t *testing.T) {
	const out = "=== RUN   T\n=== RUN   T/a\n=== PAUSE T/a\n=== RUN   T/b\n    b says\n    === RUN   T/a\n=== CONT  T/a\n    a says\n=== RUN   T/a/x\n    x says\n--- FAIL: T (0.00s)\n"
	if got, want := section(out, "T/b"), "=== RUN   T/b\n    b says\n    === RUN   T/a\n"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	want := "=== RUN   T/a\n=== PAUSE T/a\n=== CONT  T/a\n    a says\n=== RUN   T/a/x\n    x says\n--- FAIL: T (0.00s)\n"
	if got := section(out, "T/a"); got != want {
		t.Errorf("%q, want %q", got, want)
	}
	if section(out, "T/c") != out {
		t.Error("of a test that is not there not everything is shown")
	}
}
