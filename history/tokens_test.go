package history

import (
	"math/rand/v2"
	"testing"
	"time"
)

func TestCheckTokens(t *testing.T) {
	ttl := 10 * time.Second
	for name, c := range map[string]struct {
		build func(s *script)
		want  TokenFault
	}{
		"increasing": {func(s *script) {
			s.acquire(0, 1, "a", OrderedToken(5), ttl)
			s.acquire(2, 3, "b", OrderedToken(6), ttl)
		}, ""},
		"decreasing": {func(s *script) {
			s.acquire(0, 1, "a", OrderedToken(6), ttl)
			s.acquire(2, 3, "b", OrderedToken(5), ttl)
		}, TokenNotIncreasing},
		"concurrent": {func(s *script) {
			s.acquire(0, 2, "a", OrderedToken(6), ttl)
			s.acquire(2, 3, "b", OrderedToken(5), ttl)
		}, ""},
		"same identity": {func(s *script) {
			s.acquire(0, 1, "a", Token{ID: "x"}, ttl)
			s.acquire(2, 3, "b", Token{ID: "x"}, ttl)
		}, DuplicateToken},
		"same number": {func(s *script) {
			s.acquire(0, 1, "a", Token{ID: "x", Order: OrderedToken(4).Order}, ttl)
			s.acquire(2, 3, "b", Token{ID: "y", Order: OrderedToken(4).Order}, ttl)
		}, DuplicateToken},
		"same hold": {func(s *script) {
			s.acquire(0, 1, "a", OrderedToken(4), ttl)
			s.acquire(2, 3, "a", OrderedToken(4), ttl)
		}, ""},
		"same actor, new hold": {func(s *script) {
			s.acquire(0, 1, "a", OrderedToken(4), ttl)
			s.release(1, 1.5, "a", OK, "")
			s.acquire(2, 3, "a", OrderedToken(4), ttl)
		}, DuplicateToken},
		"no tokens": {func(s *script) {
			s.acquire(0, 1, "a", Token{}, ttl)
			s.acquire(2, 3, "b", Token{}, ttl)
		}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			var s script
			c.build(&s)
			found := CheckTokens(s.events)
			if (len(found) > 0) != (c.want != "") || len(found) > 0 && found[0].Fault != c.want {
				t.Errorf("found %+v, want %q", found, c.want)
			}
		})
	}
}

// The sweep against the definition, pair by pair.
func TestTokensAgreeWithDefinition(t *testing.T) {
	var broken int
	for seed := range uint64(20_000) {
		rng := rand.New(rand.NewPCG(seed, 2))
		var s script
		type got struct {
			from, to float64
			n        int64
		}
		var grants []got
		for i := range 2 + rng.IntN(6) {
			from := float64(rng.IntN(20))
			g := got{from, from + float64(rng.IntN(4)), int64(i*2 + rng.IntN(9) - 4)}
			grants = append(grants, g)
			s.acquire(g.from, g.to, string(rune('a'+i)), OrderedToken(g.n), 0)
		}
		want := map[TokenFault]bool{}
		for i, a := range grants {
			for j, b := range grants {
				if a.to < b.from && a.n > b.n {
					want[TokenNotIncreasing] = true
				}
				if i < j && a.n == b.n {
					want[DuplicateToken] = true
				}
			}
		}
		have := map[TokenFault]bool{}
		for _, v := range CheckTokens(s.events) {
			have[v.Fault] = true
		}
		if len(have) != len(want) || have[DuplicateToken] != want[DuplicateToken] {
			t.Fatalf("seed %d: found %v, by definition %v\n%s", seed, have, want, text(s.events))
		}
		if len(want) > 0 {
			broken++
		}
	}
	if broken < 1000 || broken > 19_000 {
		t.Fatalf("%d of 20000 broken: too one-sided to show anything", broken)
	}
}
