package swimlane

import "fmt"

// Measures of the wide layout, in pixels.
const (
	gutter     = 104.0 // names of the lanes
	clientRoom = 84.0  // height of a client's lane
	otherRoom  = 58.0
	axisRoom   = 30.0
	barHeight  = 16.0
	least      = 26.0   // distance of two moments
	fullWidth  = 1000.0 // what the page has room for
	shortCall  = 8.0    // how far a call of no length leans
)

// wide has time from left to right.
func (s *scene) wide() Layout {
	l := Layout{}
	y := make([]float64, len(s.lanes))
	top := 8.0
	for i, lane := range s.lanes {
		room := otherRoom
		if lane.kind == clientLane {
			room = clientRoom
		}
		y[i] = top + room/2
		top += room
	}
	x := s.columns()
	x.widen(gutter, fullWidth-s.tail())
	l.W, l.H = x.x[len(x.x)-1]+s.tail(), top+axisRoom
	for i, lane := range s.lanes {
		l.Lanes = append(l.Lanes, Lane{
			X1: gutter, Y1: y[i], X2: l.W - 8, Y2: y[i],
			Name: Text{X: 8, Y: y[i] + 1, Anchor: "start", Text: lane.name},
			Note: Text{X: 8, Y: y[i] + 15, Anchor: "start", Text: clip(lane.note, 14)},
		})
	}
	for _, f := range s.faults {
		room := otherRoom
		if s.lanes[f.lane].kind == clientLane {
			room = clientRoom
		}
		from, to := x.of(f.from), max(x.of(f.to), x.of(f.from)+4)
		l.Shades = append(l.Shades, Box{
			X: from, Y: y[f.lane] - room/2 + 2, W: to - from, H: room - 4, Kind: "fault",
			Label: Text{X: from + 5, Y: y[f.lane] + room/2 - 7, Anchor: "start", Text: f.label},
		})
	}
	for _, b := range s.spans {
		from, to := x.of(b.from), x.of(b.to)
		box := Box{X: from, Y: y[b.lane] - barHeight/2, W: max(to-from, 3), H: barHeight, Kind: b.kind, Lane: b.lane}
		box.Label = Text{X: from + 5, Y: y[b.lane] + 4, Anchor: "start", Text: fit(b.label, to-from-8)}
		if b.kind == barBelief {
			box.Y, box.H = box.Y+2, box.H-4
			box.Label = Text{X: min(from, l.W-width(b.label)-8), Y: y[b.lane] + barHeight/2 + 13, Anchor: "start", Text: b.label}
		}
		l.Bars = append(l.Bars, box)
	}
	for i, m := range s.moments {
		if m.From != m.To {
			l.Links = append(l.Links, link(m.Kind, x.called(m, x.x[i], shortCall), y[m.From], x.x[i], y[m.To]))
		}
		l.Marks = append(l.Marks, Mark{
			X: x.x[i], Y: y[m.To], Kind: m.Kind, Title: m.Time() + " " + m.Who + " " + m.Text,
			Label: Text{X: x.x[i], Y: s.labelAt(m, y), Anchor: "middle", Text: s.label(m)},
		})
	}
	s.ticks(&l, x, top)
	return l
}

// label of a moment; on a lane that several reach it says who.
func (s *scene) label(m Moment) string {
	if m.From != m.To && s.lanes[m.To].kind == serviceLane {
		return initial(m.Who) + ": " + m.Label
	}
	return m.Label
}

// labelAt: above the lane of a client, where its bar is free, below the others.
func (s *scene) labelAt(m Moment, y []float64) float64 {
	if s.lanes[m.To].kind == clientLane {
		return y[m.To] - barHeight/2 - 9
	}
	return y[m.To] + 20
}

// columns places the moments so that no two labels of one lane touch.
func (s *scene) columns() axis {
	a := axis{}
	free := make([]float64, len(s.lanes))
	for i := range free {
		free[i] = gutter
	}
	x := gutter + 14
	for i, m := range s.moments {
		half := width(s.label(m)) / 2
		if i > 0 {
			wait := m.At - s.moments[i-1].At
			x += least + stretch(wait)
			if wait >= longWait {
				x = max(x, a.x[i-1]+80)
			}
		}
		x = max(x, free[m.To]+half+6)
		free[m.To] = x + half
		a.at, a.x = append(a.at, m.At), append(a.x, x)
	}
	return a
}

// tail is the room that the last labels need behind the last moment.
func (s *scene) tail() float64 {
	room := 30.0
	for _, m := range s.moments[max(0, len(s.moments)-3):] {
		room = max(room, width(s.label(m))/2+10)
	}
	return room
}

// ticks writes times under the moments as far as there is room, and long waits
// between them.
func (s *scene) ticks(l *Layout, x axis, top float64) {
	free := gutter - 40
	for i, m := range s.moments {
		text := fmt.Sprintf("%.3f", m.At.Seconds())
		half := tickWidth * float64(len(text)) / 2
		if x.x[i]-half > free {
			l.Ticks = append(l.Ticks, Text{X: x.x[i], Y: top + 20, Anchor: "middle", Text: text})
			free = x.x[i] + half + 6
		}
		if i == 0 {
			continue
		}
		if wait := m.At - s.moments[i-1].At; wait >= longWait {
			l.Gaps = append(l.Gaps, Text{X: (x.x[i] + x.x[i-1]) / 2, Y: top + 4, Anchor: "middle", Text: "· " + Duration(wait) + " ·"})
		}
	}
}

// link draws a call with a head that points along it.
func link(kind Kind, x1, y1, x2, y2 float64) Link {
	edge := barHeight / 2
	if y2 < y1 {
		edge = -edge
	}
	y1, y2 = y1+edge, y2-edge*0.75
	tip := 6.0
	if y2 < y1 {
		tip = -tip
	}
	return Link{
		X1: x1, Y1: y1, X2: x2, Y2: y2, Kind: kind,
		Head: fmt.Sprintf("%.1f,%.1f %.1f,%.1f %.1f,%.1f", x2, y2, x2-3.5, y2-tip, x2+3.5, y2-tip),
	}
}

func clip(text string, most int) string {
	if r := []rune(text); len(r) > most {
		return string(r[:most-1]) + "…"
	}
	return text
}

// fit returns the text if it has room, and nothing otherwise.
func fit(text string, room float64) string {
	if width(text) > room {
		return ""
	}
	return text
}
