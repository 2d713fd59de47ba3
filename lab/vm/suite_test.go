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
