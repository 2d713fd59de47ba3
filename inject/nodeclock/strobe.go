package nodeclock

import "time"

// strobe steps the clock to and fro until it is stopped, or somebody else sets it.
type strobe struct {
	stop, done chan struct{}
}

// startStrobe begins with the clock at the offset.
func startStrobe(p Params, u undo) *strobe {
	s := &strobe{make(chan struct{}), make(chan struct{})}
	go func() {
		defer close(s.done)
		tick := time.NewTicker(p.Strobe) // on CLOCK_MONOTONIC, which a step leaves alone
		defer tick.Stop()
		for next := -p.Offset; ; next = -next {
			select {
			case <-s.stop:
				return
			case <-tick.C:
			}
			now, err := readClocks()
			if err != nil {
				return
			}
			// Where it was put last: at the offset before a step back, at 0 before one to it.
			want := int64(0)
			if next == -p.Offset {
				want = int64(p.Offset)
			}
			if abs(now.Real-u.untouched(now)-want) > tolerance(now.Raw-u.Anchor.Raw) || stepBy(next) != nil {
				return // Revert finds out what became of it
			}
		}
	}()
	return s
}

func (s *strobe) end() {
	close(s.stop)
	<-s.done
}
