package agent

import (
	"os"
	"sync"
	"time"
)

// relay passes on as many bytes as there is credit for.
type relay struct {
	mu     sync.Mutex
	more   sync.Cond
	credit int
	over   bool
	src    *os.File
}

func newRelay() *relay {
	r := &relay{credit: window}
	r.more.L = &r.mu
	return r
}

func (r *relay) run(src *os.File, emit func([]byte)) {
	r.mu.Lock()
	r.src = src
	r.mu.Unlock()
	buf := make([]byte, chunk/4)
	for {
		n := r.allowance()
		if n == 0 {
			return
		}
		got, err := src.Read(buf[:min(n, len(buf))])
		if got > 0 {
			r.take(got)
			emit(buf[:got])
		}
		if err != nil {
			return
		}
	}
}

func (r *relay) allowance() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	for r.credit <= 0 && !r.over {
		r.more.Wait()
	}
	if r.over {
		return 0
	}
	return r.credit
}

func (r *relay) take(n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.credit -= n
}

func (r *relay) add(n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if n > 0 {
		r.credit = min(r.credit+n, window)
	}
	r.more.Signal()
}

// stop ends run, also out of a read: somebody outside the group may hold the pipe.
func (r *relay) stop() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.over = true
	r.more.Signal()
	if r.src != nil {
		_ = r.src.SetReadDeadline(time.Now())
	}
}
