package reports

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"time"

	"github.com/lockaudit/lockaudit/history"
	"github.com/lockaudit/lockaudit/record"
)

// chart shows the distributions of one kind on a logarithmic axis, with the lease
// drawn in: what matters is how far the tails stay below it.
type chart struct {
	ID, Title, About string
	Rows             []chartRow
	Ticks            []chartTick
	Lease            chartTick
	Height           float64
}

// chartRow is one distribution. Positions are per cent of the width.
type chartRow struct {
	Name   string
	Sample history.Sample
	Y      float64
	Dots   []chartDot
	From   float64 // of the line to To
	To     float64
	Late   bool // the longest is not below the lease
}

type chartDot struct {
	At    float64
	Name  string
	Value time.Duration
}

type chartTick struct {
	At           float64
	Text, Anchor string
}

// chartTitles lists the kinds in the order of the report.
func chartTitles() []struct{ name, title, about string } {
	return []struct{ name, title, about string }{
		{history.SampleRTT, "Round trips to the lock servers", "A renewal takes at least one of these. Their tail eats into the lease."},
		{history.SamplePause, "Pauses of the client nodes", "How long a thread that wanted to run did not. A pause beyond the lease loses the lock without notice."},
		{history.SampleAcquire, "Acquiring the free lock", "How long a client waited for the lock that nobody held."},
		{history.SampleRelease, "Releasing the lock", ""},
	}
}

const chartRowHeight = 44.0

// charts returns those for which the run has measurements.
func charts(run record.Run) []chart {
	var out []chart
	for _, kind := range chartTitles() {
		c := chart{ID: "chart-" + kind.name, Title: kind.title, About: kind.about}
		for _, s := range samples(run, kind.name) {
			name := s.Node
			if s.Peer != "" {
				name += " → " + s.Peer
			}
			c.Rows = append(c.Rows, chartRow{Name: name, Sample: s})
		}
		if len(c.Rows) > 0 {
			c.place(run.Manifest.Subject.TTL)
			out = append(out, c)
		}
	}
	return out
}

// samples of one name that hold anything, in the order of the record.
func samples(run record.Run, name string) []history.Sample {
	var out []history.Sample
	for _, probe := range slices.Sorted(maps.Keys(run.Histories)) {
		for _, e := range run.Histories[probe] {
			if s := e.Sample; s != nil && s.Name == name && s.Unit == history.Nanoseconds && s.Count > 0 && len(s.Quantiles) > 0 {
				out = append(out, *s)
			}
		}
	}
	return out
}

// place works out the positions. The axis holds whole decades around everything
// shown, the lease included.
func (c *chart) place(lease time.Duration) {
	least, most := float64(lease), float64(lease)
	for _, r := range c.Rows {
		for _, q := range r.Sample.Quantiles {
			least, most = min(least, float64(q.V)), max(most, float64(q.V))
		}
		most = max(most, float64(r.Sample.Max))
	}
	low := math.Floor(math.Log10(max(least, 1000))) // nothing below 1 µs is told apart
	high := math.Ceil(math.Log10(max(most, 10_000)) + 0.05)
	at := func(ns int64) float64 {
		share := (math.Log10(max(float64(ns), 1000)) - low) / (high - low)
		return math.Round((2+96*share)*100) / 100
	}
	for e := low; e <= high; e++ {
		d := time.Duration(math.Pow(10, e))
		c.Ticks = append(c.Ticks, chartTick{At: at(int64(d)), Text: decade(d), Anchor: "middle"})
	}
	c.Ticks[0].Anchor, c.Ticks[len(c.Ticks)-1].Anchor = "start", "end"
	if lease > 0 {
		c.Lease = chartTick{At: at(int64(lease)), Text: "lease"}
	}
	for i := range c.Rows {
		r := &c.Rows[i]
		r.Y = float64(i)*chartRowHeight + 40
		for _, q := range r.Sample.Quantiles {
			r.Dots = append(r.Dots, chartDot{At: at(q.V), Name: fmt.Sprintf("p%g", q.P*100), Value: time.Duration(q.V)})
		}
		r.Dots = append(r.Dots, chartDot{At: at(r.Sample.Max), Name: "longest", Value: time.Duration(r.Sample.Max)})
		r.From, r.To = r.Dots[0].At, r.Dots[len(r.Dots)-1].At
		r.Late = lease > 0 && time.Duration(r.Sample.Max) >= lease
	}
	c.Height = float64(len(c.Rows))*chartRowHeight + 56
}

func decade(d time.Duration) string {
	switch {
	case d < time.Millisecond:
		return fmt.Sprintf("%d µs", d/time.Microsecond)
	case d < time.Second:
		return fmt.Sprintf("%d ms", d/time.Millisecond)
	}
	return fmt.Sprintf("%d s", d/time.Second)
}
