package probes

import (
	"errors"
	"slices"
	"testing"

	"github.com/lockaudit/lockaudit/facts"
)

// TestShapes checks each shape of each size for what its name promises, and for
// the quorum guard: no shape takes the majority's links away.
func TestShapes(t *testing.T) {
	for n := fewestServers; n <= 9; n++ {
		seen := map[string]bool{}
		for _, s := range shapes(n) {
			if seen[s.name] {
				t.Errorf("n=%d: %s comes twice", n, s.name)
			}
			seen[s.name] = true
			if len(s.a) == 0 || len(s.b) == 0 || len(s.deaf) != n || s.affected() == 0 {
				t.Errorf("n=%d: %s is not whole: %+v", n, s.name, s)
			}
			for _, i := range s.a {
				if slices.Contains(s.b, i) {
					t.Errorf("n=%d: %s: A and B both reach server %d", n, s.name, i)
				}
			}
			if biggest(s, n) <= n/2 {
				t.Errorf("n=%d: %s leaves no server that hears a majority", n, s.name)
			}
			for i, from := range s.deaf {
				if slices.Contains(from, i) {
					t.Errorf("n=%d: %s makes server %d deaf to itself", n, s.name, i)
				}
			}
		}
		if seen["majorities-ring"] != (n >= 5) {
			t.Errorf("n=%d: majorities-ring is %v", n, seen["majorities-ring"])
		}
	}
}

// biggest is the largest number of servers that one server hears, with itself.
func biggest(s shape, n int) int {
	most := 0
	for _, from := range s.deaf {
		most = max(most, n-len(from))
	}
	return most
}

func TestShapesOfThree(t *testing.T) {
	want := map[string]struct {
		a, b []int
		deaf [][]int
	}{
		"leader-in-minority": {[]int{0}, []int{1, 2}, [][]int{{1, 2}, {0}, {0}}},
		"one-server-alone":   {[]int{2}, []int{0, 1}, [][]int{{2}, {2}, {0, 1}}},
		"bridge":             {[]int{1}, []int{2}, [][]int{nil, {2}, {1}}},
		"one-way":            {[]int{0}, []int{1, 2}, [][]int{{1, 2}, nil, nil}},
	}
	list := shapes(3)
	if len(list) != len(want) {
		t.Fatalf("%d shapes, want %d", len(list), len(want))
	}
	for _, s := range list {
		w := want[s.name]
		if !slices.Equal(s.a, w.a) || !slices.Equal(s.b, w.b) || !slices.EqualFunc(s.deaf, w.deaf, slices.Equal[[]int]) {
			t.Errorf("%s: %+v, want %+v", s.name, s, w)
		}
	}
}

// TestRingOfFive: everybody hears a majority, and no two the same one.
func TestRingOfFive(t *testing.T) {
	s := ring(5)
	seen := map[string]bool{}
	for i, from := range s.deaf {
		hears := others(5, from)
		if len(hears) != 3 || !slices.Contains(hears, i) {
			t.Errorf("server %d hears %v", i, hears)
		}
		seen[string(rune(hears[0]))+string(rune(hears[1]))+string(rune(hears[2]))] = true
	}
	if len(seen) != 5 {
		t.Errorf("%d different majorities, want 5", len(seen))
	}
}

// TestWhole: a cut must not be named after servers that it does not reach.
func TestWhole(t *testing.T) {
	for _, c := range []struct {
		agents, voters, least int
		ok                    bool
	}{
		{3, 3, 3, true}, {5, 5, 3, true}, {3, 0, 3, true}, {2, 2, 3, false}, {0, 0, 3, false}, {3, 5, 3, false}, {3, 2, 3, false}, {2, 0, 2, true},
	} {
		err := whole(make([]member, c.agents), c.voters, c.least)
		if (err == nil) != c.ok || err != nil && !errors.Is(err, ErrSkip) {
			t.Errorf("%d agents, %d voters: %v", c.agents, c.voters, err)
		}
	}
}

func TestLeaderIsMatchedByAddress(t *testing.T) {
	members := []member{{node: "lock-1", addrs: []string{"10.0.0.1"}}, {node: "lock-2", addrs: []string{"fd00::2", "10.0.0.2"}}}
	for endpoint, want := range map[string]int{
		"http://10.0.0.1:2379": 0, "https://[fd00::2]:2379": 1, "10.0.0.2:2379": 1, "http://lock-2:2379": 1,
		"http://10.0.0.9:2379": -1, "": -1, "::bad::": -1,
	} {
		d := facts.Deployment{Members: []facts.Member{{Endpoint: "http://10.0.0.1:2379", Role: "follower"}, {Endpoint: endpoint, Role: "leader"}}}
		if got := leader(members, d); got != want {
			t.Errorf("%q: member %d, want %d", endpoint, got, want)
		}
	}
}
