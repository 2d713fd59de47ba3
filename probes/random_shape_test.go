package probes

import (
	"fmt"
	"reflect"
	"slices"
	"testing"
)

// TestRandomShapes: whatever is drawn is whole, leaves a majority that one server hears
// and is heard by, and is drawn again by the same seed.
func TestRandomShapes(t *testing.T) {
	for n := 2; n <= 9; n++ {
		seen, lopsided := map[string]bool{}, 0
		for seed := range uint64(200) {
			list := randomShapes(n, seed+1)
			if again := randomShapes(n, seed+1); !reflect.DeepEqual(list, again) {
				t.Fatalf("n=%d: seed %d draws %+v and then %+v", n, seed+1, list, again)
			}
			if list[0].name == list[1].name {
				t.Fatalf("two shapes are named %s", list[0].name)
			}
			for _, s := range list {
				if both := append(slices.Clone(s.a), s.b...); len(s.a) == 0 || len(s.b) == 0 || !slices.Equal(slices.Sorted(slices.Values(both)), span(0, n)) {
					t.Errorf("n=%d, %s: sides %v and %v", n, s.name, s.a, s.b)
				}
				if s.affected() == 0 || len(s.deaf) != n {
					t.Errorf("n=%d, %s breaks nothing: %v", n, s.name, s.deaf)
				}
				if n >= fewestServers && together(s, n) <= n/2 {
					t.Errorf("n=%d, %s leaves no majority: %v", n, s.name, s.deaf)
				}
				seen[fmt.Sprint(s.a, s.deaf)] = true
			}
			if oneSided(list[0]) {
				t.Errorf("n=%d, %s breaks one direction only: %v", n, list[0].name, list[0].deaf)
			}
			if oneSided(list[1]) {
				lopsided++
			}
		}
		if n > 3 && len(seen) < 100 || lopsided == 0 {
			t.Errorf("n=%d: 200 seeds draw %d different shapes, %d of them one-way", n, len(seen), lopsided)
		}
	}
}

// together is the largest number of servers, with itself, to which one has links both
// ways.
func together(s shape, n int) int {
	most := 0
	for i := range n {
		have := 0
		for j := range n {
			if !slices.Contains(s.deaf[i], j) && !slices.Contains(s.deaf[j], i) {
				have++
			}
		}
		most = max(most, have)
	}
	return most
}

func oneSided(s shape) bool {
	for i, from := range s.deaf {
		for _, j := range from {
			if !slices.Contains(s.deaf[j], i) {
				return true
			}
		}
	}
	return false
}

// TestSeedsKeepTheirShapes: a seed in somebody's report draws the same in a later
// version.
func TestSeedsKeepTheirShapes(t *testing.T) {
	got := ""
	for _, s := range randomShapes(5, 7) {
		got += fmt.Sprintln(s.name, s.a, s.b, s.deaf)
	}
	const want = `random of seed 7 [1 2 3 4] [0] [[1 2 3] [0 2 4] [0 1 3] [0 2] [1]]
random-one-way of seed 7 [2] [0 1 3 4] [[3] [2 3] [] [1 4] [0 1 3]]
`
	if got != want {
		t.Errorf("seed 7 draws\n%s", got)
	}
}

// TestShapesOfAPlan: a service that votes is parted from three servers on, another one
// from two, and only a seed adds what is drawn.
func TestShapesOfAPlan(t *testing.T) {
	for _, c := range []struct {
		servers  int
		majority bool
		seed     uint64
		want     int
	}{
		{0, false, 7, 0}, {1, false, 7, 0}, {2, true, 7, 0}, {2, false, 0, 2}, {2, false, 7, 4},
		{3, true, 0, 4}, {3, true, 7, 6}, {5, true, 0, 5}, {5, true, 7, 7},
	} {
		p := Params{LockNodes: make([]string, c.servers), Majority: c.majority, Seed: c.seed, NodeA: "a", NodeB: "b"}
		if got := len(shapesOf(p)); got != c.want {
			t.Errorf("%+v: %d shapes", c, got)
		}
		if got := partitionLockServers().Trials(p, 1); got != max(1, c.want) {
			t.Errorf("%+v: %d trials", c, got)
		}
	}
}
