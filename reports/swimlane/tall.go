package swimlane

// Measures of the tall layout, in pixels.
const (
	tallLane  = 22.0
	tallStart = 8.0
	tallRow   = 25.0
	tallText  = 34 // characters of a line
	tallWidth = 344.0
	tallTop   = 32.0
)

// tall has time going down: the lanes are narrow columns, and each moment is a line
// of text beside them.
func (s *scene) tall() Layout {
	x := make([]float64, len(s.lanes))
	for i := range s.lanes {
		x[i] = tallStart + tallLane*(float64(i)+0.5)
	}
	y := axis{}
	at := tallTop + 16
	for i, m := range s.moments {
		if i > 0 {
			wait := m.At - s.moments[i-1].At
			at += tallRow
			if wait >= longWait {
				at += 14 + stretch(wait)/3
			}
		}
		y.at, y.x = append(y.at, m.At), append(y.x, at)
	}
	text := tallStart + tallLane*float64(len(s.lanes)) + 8
	l := Layout{W: tallWidth, H: at + 18}
	for i, lane := range s.lanes {
		l.Lanes = append(l.Lanes, Lane{
			X1: x[i], Y1: tallTop, X2: x[i], Y2: l.H - 6,
			Name: Text{X: x[i], Y: 20, Anchor: "middle", Text: head(lane)},
		})
	}
	for _, f := range s.faults {
		from, to := y.of(f.from), y.of(f.to)
		l.Shades = append(l.Shades, Box{X: x[f.lane] - 9, Y: from, W: 18, H: max(to-from, 4), Kind: "fault"})
	}
	for _, b := range s.spans {
		from, to := y.of(b.from), y.of(b.to)
		l.Bars = append(l.Bars, Box{X: x[b.lane] - 4, Y: from, W: 8, H: max(to-from, 3), Kind: b.kind, Lane: b.lane})
	}
	for i, m := range s.moments {
		if m.From != m.To {
			l.Links = append(l.Links, Link{X1: x[m.From], Y1: y.called(m, y.x[i], 0), X2: x[m.To], Y2: y.x[i], Kind: m.Kind})
		}
		if wait := m.At - s.moments[max(i-1, 0)].At; wait >= longWait {
			l.Gaps = append(l.Gaps, Text{X: text, Y: (y.x[i]+y.x[i-1])/2 + 4, Anchor: "start", Text: "· " + Duration(wait) + " ·"})
		}
		l.Marks = append(l.Marks, Mark{
			X: x[m.To], Y: y.x[i], Kind: m.Kind, Title: m.Time() + " " + m.Who + " " + m.Text,
			Label: Text{X: text, Y: y.x[i] + 4, Anchor: "start", Text: clip(s.line(m), tallText)},
		})
	}
	return l
}

// head of a lane's column; the caption spells it out.
func head(l lane) string {
	switch l.kind {
	case serviceLane:
		return "L"
	case resourceLane:
		return "R"
	}
	return clip(initial(l.name), 2)
}

// line says in a few words who did what.
func (s *scene) line(m Moment) string {
	verb := " "
	if m.From != m.To && s.lanes[m.To].kind == resourceLane {
		verb = " → "
	}
	return initial(m.Who) + verb + m.Label
}
