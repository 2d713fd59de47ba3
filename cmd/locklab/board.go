package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync"

	"golang.org/x/term"

	"github.com/lockaudit/lockaudit/lab"
)

// board shows what the labs of a demo are doing: one line that changes on a
// terminal, one line per change elsewhere.
type board struct {
	mu    sync.Mutex
	out   io.Writer
	width func() int // columns of the terminal; nil if there is none
	names []string
	steps map[string]string
}

func newBoard(out io.Writer, labs []lab.Lab) *board {
	b := &board{out: out, steps: map[string]string{}}
	for _, l := range labs {
		b.names = append(b.names, l.Name)
	}
	if file, ok := out.(*os.File); ok && term.IsTerminal(int(file.Fd())) {
		b.width = func() int {
			width, _, err := term.GetSize(int(file.Fd()))
			if err != nil || width < 20 {
				return 80
			}
			return width
		}
	}
	return b
}

// set says what a lab is doing now.
func (b *board) set(name, step string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	step = strings.TrimSpace(step)
	if step == "" || b.steps[name] == step {
		return
	}
	b.steps[name] = step
	if b.width == nil {
		fmt.Fprintf(b.out, "%s: %s\n", name, step)
		return
	}
	b.draw()
}

// print runs f, which prints something, with the changing line out of its way.
func (b *board) print(f func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.erase()
	f()
	if b.width != nil {
		b.draw()
	}
}

// close removes the changing line.
func (b *board) close() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.erase()
}

func (b *board) erase() {
	if b.width != nil {
		fmt.Fprint(b.out, "\r\033[K")
	}
}

// draw gives every lab the same share of the line.
func (b *board) draw() {
	share := b.width()/len(b.names) - 3
	var parts []string
	for _, name := range b.names {
		parts = append(parts, clip(name+": "+b.steps[name], share))
	}
	b.erase()
	fmt.Fprint(b.out, strings.Join(parts, " | "))
}

func clip(s string, width int) string {
	if runes := []rune(s); len(runes) > width && width > 1 {
		return string(runes[:width-1]) + "…"
	}
	return s
}
