package probes

import (
	"fmt"
	"slices"
	"strings"
)

// shape is one way in which a network breaks between lock servers. Servers are
// numbered from 0, the leader first.
type shape struct {
	name string
	// drawn: its name says a seed, and not what is broken.
	drawn bool
	// a and b are the servers that client A and client B reach.
	a, b []int
	// deaf lists, for each server, those of which it hears nothing.
	deaf [][]int
}

// fewestServers is the smallest ensemble in which a minority can be cut off.
const fewestServers = 3

// shapesOf are the shapes that the lock servers of a plan are parted in.
func shapesOf(p Params) []shape {
	n := len(p.LockNodes)
	if n < p.fewestParted() {
		return nil
	}
	list := shapes(n)
	if p.Seed != 0 {
		list = append(list, randomShapes(n, p.Seed)...)
	}
	return list
}

// fewestParted is how many servers it takes: a service that decides by a majority has
// none left when two of its servers are parted, which shows nothing of the lock.
func (p Params) fewestParted() int {
	if p.Majority {
		return fewestServers
	}
	return 2
}

// shapes of n servers: those that Jepsen's nemeses have, as far as n allows. In
// each of them at most one side has a majority, or both have the same one in part.
func shapes(n int) []shape {
	if n < fewestServers {
		return []shape{split("two-sides", n, []int{0}), oneWay(n)}
	}
	few := (n - 1) / 2
	list := []shape{
		split("leader-in-minority", n, span(0, few)),
		split("one-server-alone", n, []int{n - 1}),
		bridge(n),
		oneWay(n),
	}
	if n >= 5 {
		list = append(list, ring(n))
	}
	return list
}

// span is from, from+1, … up to and without to.
func span(from, to int) []int {
	var out []int
	for i := from; i < to; i++ {
		out = append(out, i)
	}
	return out
}

// split parts the servers in two; A is with few of them.
func split(name string, n int, few []int) shape {
	s := shape{name: name, a: few, deaf: make([][]int, n)}
	for i := range n {
		if !slices.Contains(few, i) {
			s.b = append(s.b, i)
		}
	}
	s.part(s.a, s.b)
	return s
}

// part makes two groups deaf to each other.
func (s *shape) part(x, y []int) {
	for _, i := range x {
		s.deaf[i] = append(s.deaf[i], y...)
	}
	for _, i := range y {
		s.deaf[i] = append(s.deaf[i], x...)
	}
}

// bridge has the leader see both halves, which do not see each other.
func bridge(n int) shape {
	half := 1 + (n-1)/2
	s := shape{name: "bridge", a: span(1, half), b: span(half, n), deaf: make([][]int, n)}
	s.part(s.a, s.b)
	return s
}

// oneWay has the leader heard by all and deaf to them: its heartbeats go on, and
// the answers are lost.
func oneWay(n int) shape {
	s := shape{name: "one-way", a: []int{0}, b: span(1, n), deaf: make([][]int, n)}
	s.deaf[0] = span(1, n)
	return s
}

// ring has every server see a majority, and no two the same one.
func ring(n int) shape {
	s := shape{name: "majorities-ring", a: []int{0}, b: []int{n / 2}, deaf: make([][]int, n)}
	reach := n / 4 // n=5: itself and one neighbour on each side, 3 of 5
	if 2*reach+1 <= n/2 {
		reach++
	}
	for i := range n {
		for j := range n {
			d := (i - j + n) % n
			if min(d, n-d) > reach {
				s.deaf[i] = append(s.deaf[i], j)
			}
		}
	}
	return s
}

// words name the shape and its sides.
func (s shape) words(members []member) string {
	names := make([]string, len(members))
	for i, m := range members {
		names[i] = m.node
	}
	return fmt.Sprintf("%s: A reaches %s; B reaches %s%s", s.name,
		strings.Join(pickNames(names, s.a), ", "), strings.Join(pickNames(names, s.b), ", "), s.links(names))
}

// addrs are the addresses of the servers with these numbers.
func addrs(members []member, list []int) []string {
	var out []string
	for _, i := range list {
		out = append(out, members[i].addrs...)
	}
	return out
}

// others are the servers of n that are not in the list.
func others(n int, list []int) []int {
	var out []int
	for i := range n {
		if !slices.Contains(list, i) {
			out = append(out, i)
		}
	}
	return out
}
