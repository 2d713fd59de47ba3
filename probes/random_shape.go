package probes

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
)

// randomShapes are two shapes of n servers that nobody thought of: one in which links
// are broken in both directions, and one in which each direction is broken by itself.
// The same seed draws the same ones, whatever the version of this program.
func randomShapes(n int, seed uint64) []shape {
	return []shape{
		randomShape(fmt.Sprintf("random of seed %d", seed), n, seed, false),
		randomShape(fmt.Sprintf("random-one-way of seed %d", seed), n, seed, true),
	}
}

func randomShape(name string, n int, seed uint64, oneWay bool) shape {
	sequence := uint64(2 * n)
	if oneWay {
		sequence++
	}
	d := draw{rand.NewPCG(seed, sequence)}
	for {
		s := shape{name: name, drawn: true, deaf: make([][]int, n)}
		for i := range n {
			// Each client of two stores has its own, and can perhaps not reach the other.
			if n < fewestServers && i == 0 || n >= fewestServers && d.coin() {
				s.a = append(s.a, i)
			} else {
				s.b = append(s.b, i)
			}
		}
		d.breakLinks(&s, n, oneWay)
		if len(s.a) > 0 && len(s.b) > 0 && s.affected() > 0 {
			return s
		}
	}
}

// breakLinks breaks each link with even odds, but for those of one server to a
// majority: no shape may leave the lock service without any (the quorum guard), and
// every one that leaves it some can be drawn. Two servers have no majority to lose.
func (d draw) breakLinks(s *shape, n int, oneWay bool) {
	kept := make([][]bool, n)
	for i := range n {
		kept[i] = make([]bool, n)
	}
	if n >= fewestServers {
		hub := d.below(n)
		rest := others(n, []int{hub})
		for range n / 2 {
			i := d.below(len(rest))
			kept[hub][rest[i]], kept[rest[i]][hub] = true, true
			rest = slices.Delete(rest, i, i+1)
		}
	}
	for i := range n {
		for j := range i {
			out, back := d.coin(), d.coin()
			if !oneWay {
				back = out
			}
			if out && !kept[i][j] {
				s.deaf[i] = append(s.deaf[i], j)
			}
			if back && !kept[i][j] {
				s.deaf[j] = append(s.deaf[j], i)
			}
		}
	}
	for i := range s.deaf {
		slices.Sort(s.deaf[i])
	}
}

// draw takes numbers out of the generator itself, whose sequence is specified; that
// of package rand's helpers is not.
type draw struct{ source *rand.PCG }

func (d draw) coin() bool { return d.source.Uint64()>>63 == 1 }

func (d draw) below(n int) int { return int(d.source.Uint64() >> 32 % uint64(n)) }

// links say of a random shape what its name does not: who hears nothing of whom. They
// are empty for the shapes that have names.
func (s shape) links(names []string) string {
	out := ""
	for i, from := range s.deaf {
		if s.drawn && len(from) > 0 {
			out += fmt.Sprintf("; %s hears nothing of %s", names[i], strings.Join(pickNames(names, from), ", "))
		}
	}
	return out
}

func pickNames(names []string, list []int) []string {
	var out []string
	for _, i := range list {
		out = append(out, names[i])
	}
	return out
}
