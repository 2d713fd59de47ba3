package swimlane

import (
	"math"
	"time"
	"unicode/utf8"

	"github.com/lockaudit/lockaudit/history"
)

// Layout is a picture in pixels, ready to be drawn.
type Layout struct {
	W, H   float64
	Lanes  []Lane
	Shades []Box
	Bars   []Box
	Links  []Link
	Marks  []Mark
	Ticks  []Text
	Gaps   []Text
}

// Lane is the line of one party, and where its name stands.
type Lane struct {
	X1, Y1, X2, Y2 float64
	Name, Note     Text
}

// Text stands at a point; Anchor is start, middle or end.
type Text struct {
	X, Y   float64
	Anchor string
	Text   string
}

// Box is a bar or a shade.
type Box struct {
	X, Y, W, H float64
	Kind       string
	Lane       int
	Label      Text
}

// Link is a call: a line from one lane to another with a head at its end.
type Link struct {
	X1, Y1, X2, Y2 float64
	Kind           Kind
	Head           string // points of a polygon
}

// Mark is a moment on its lane.
type Mark struct {
	X, Y  float64
	Kind  Kind
	Label Text
	Title string
}

// Widths of the fonts in the pictures, in pixels per character, on the safe side.
const (
	labelWidth = 6.6
	tickWidth  = 6.0
)

func width(text string) float64 { return labelWidth * float64(utf8.RuneCountInString(text)) }

// stretch is what a wait adds to the distance of two moments: nothing below 50 ms,
// and less than in proportion above.
func stretch(d time.Duration) float64 {
	const from = 50 * time.Millisecond
	if d <= from {
		return 0
	}
	return 26 * math.Log10(1+float64(d)/float64(from))
}

// longWait is what is written into the picture as a wait.
const longWait = 200 * time.Millisecond

// axis maps the clock of the run to a coordinate, along the moments.
type axis struct {
	at []time.Duration
	x  []float64
}

// of returns the coordinate of a time: between two moments in proportion.
func (a axis) of(t time.Duration) float64 {
	last := len(a.at) - 1
	switch {
	case t <= a.at[0]:
		return a.x[0]
	case t >= a.at[last] || t == history.Forever:
		return a.x[last]
	}
	for i := 1; i <= last; i++ {
		if t > a.at[i] {
			continue
		}
		share := float64(t-a.at[i-1]) / float64(a.at[i]-a.at[i-1])
		return a.x[i-1] + share*(a.x[i]-a.x[i-1])
	}
	return a.x[last]
}

// widen uses the room up to the given end, if there is any left.
func (a axis) widen(start, end float64) {
	last := a.x[len(a.x)-1]
	if last >= end || last <= start {
		return
	}
	by := min((end-start)/(last-start), 2)
	for i := range a.x {
		a.x[i] = start + (a.x[i]-start)*by
	}
}

// called is where the line of a call begins: a call that took long leans by its
// time, any other by no more than lean.
func (a axis) called(m Moment, end, lean float64) float64 {
	if m.At-m.Called >= longWait {
		return a.of(m.Called)
	}
	return end - lean
}
