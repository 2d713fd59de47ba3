package main

import (
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"github.com/lockaudit/lockaudit/probes"
	"golang.org/x/term"
)

// progress shows where the audit is: one line that is redrawn, with a countdown,
// on a terminal; a plain line for each step elsewhere.
type progress struct {
	w    io.Writer
	live bool

	mu      sync.Mutex
	now     probes.Progress
	started time.Time
	done    chan struct{}
	redraw  sync.WaitGroup
}

func newProgress(w io.Writer) *progress {
	p := &progress{w: w, started: time.Now(), done: make(chan struct{})}
	if file, ok := w.(*os.File); ok && term.IsTerminal(int(file.Fd())) && os.Getenv("TERM") != "dumb" {
		p.live = true
		p.redraw.Go(p.animate)
	}
	return p
}

func (p *progress) update(now probes.Progress) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.now = now
	if p.live {
		p.draw()
		return
	}
	fmt.Fprintf(p.w, "%6.1fs  %s  %s%s%s\n",
		time.Since(p.started).Seconds(), now.Probe, trialOf(now, "trial %d of %d  "), now.Step, countdown(now.Until))
}

func (p *progress) animate() {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-p.done:
			return
		case <-tick.C:
			p.mu.Lock()
			p.draw()
			p.mu.Unlock()
		}
	}
}

// draw rewrites the line; the caller holds the lock.
func (p *progress) draw() {
	if p.now.Probe == "" {
		return
	}
	line := fmt.Sprintf("%5.1fs  %s  %s%s%s", time.Since(p.started).Seconds(),
		p.now.Probe, trialOf(p.now, "%d/%d  "), p.now.Step, countdown(p.now.Until))
	if width, _, err := term.GetSize(int(p.w.(*os.File).Fd())); err == nil && len(line) >= width && width > 1 {
		line = line[:width-1]
	}
	fmt.Fprintf(p.w, "\r\x1b[K%s", line)
}

// trialOf is empty for what is not done in trials.
func trialOf(now probes.Progress, format string) string {
	if now.Trials == 0 {
		return ""
	}
	return fmt.Sprintf(format, now.Trial, now.Trials)
}

func countdown(until time.Time) string {
	left := time.Until(until)
	if until.IsZero() || left <= 0 {
		return ""
	}
	return fmt.Sprintf(" (%.1f s left)", left.Seconds())
}

// stop clears the line.
func (p *progress) stop() {
	close(p.done)
	p.redraw.Wait()
	if p.live {
		fmt.Fprint(p.w, "\r\x1b[K")
	}
}
