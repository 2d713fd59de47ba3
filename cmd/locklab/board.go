package main

import (
	"fmt"
	"io"
	"os"
	"slices"
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
	names []string   // the one that has moved last comes first
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
	b.names = append([]string{name}, slices.DeleteFunc(b.names, func(n string) bool { return n == name })...)
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

// fewestColumns are what a lab's name and step need to say something.
const fewestColumns = 38

// draw gives the same share of the line to as many labs as it has room for, first
// the one that has moved last.
func (b *board) draw() {
	shown := b.names[:min(len(b.names), max(1, b.width()/fewestColumns))]
	share := b.width()/len(shown) - 3
	var parts []string
	for _, name := range shown {
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
