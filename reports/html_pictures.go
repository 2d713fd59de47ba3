package reports

import (
	"fmt"

	"github.com/lockaudit/lockaudit/checklist"
	"github.com/lockaudit/lockaudit/history"
	"github.com/lockaudit/lockaudit/record"
	"github.com/lockaudit/lockaudit/reports/swimlane"
)

// pictures draws from the histories of a run.
type pictures struct {
	run   record.Run
	holds swimlane.Options
}

func newPictures(run record.Run) pictures {
	// Capabilities of package locks, which a report may not import.
	can := run.Manifest.Subject.Can
	return pictures{run: run, holds: swimlane.Options{OwnerCheck: can("owner-check"), SessionBound: can("session-bound")}}
}

// scene is a stretch of one trial: the events that a finding cites, and the picture
// cut to them.
type scene struct {
	ID    string
	Probe string
	Trial int
	Cited []checklist.Evidence
	swimlane.Diagram
}

// Title names the picture for those who do not see it.
func (s scene) Title() string { return fmt.Sprintf("Timeline of %s, trial %d", s.Probe, s.Trial) }

// maxScenes of one finding are drawn; evidence beyond is listed all the same.
const maxScenes = 3

// scenes groups the evidence of a finding by trial. Evidence without an event is a
// fact.
func (p pictures) scenes(f checklist.Finding) (scenes []scene, seen []string) {
	for _, e := range f.Evidence {
		if e.Seq == 0 {
			seen = append(seen, e.Text)
			continue
		}
		last := len(scenes) - 1
		if last < 0 || scenes[last].Probe != e.Probe || scenes[last].Trial != e.Trial {
			scenes = append(scenes, scene{ID: fmt.Sprintf("%s-%d", f.Item, last+1), Probe: e.Probe, Trial: e.Trial})
			last++
		}
		scenes[last].Cited = append(scenes[last].Cited, e)
	}
	for i := range scenes {
		if i < maxScenes {
			s := &scenes[i]
			first, end := s.Cited[0].Seq, s.Cited[0].Seq
			for _, e := range s.Cited {
				first, end = min(first, e.Seq), max(end, e.Seq)
			}
			// One moment alone is a line of text, not a picture.
			if d := p.draw(s.Probe, s.Trial, first, end); len(d.Moments) > 1 {
				s.Diagram = d
			}
		}
	}
	return scenes, seen
}

func (p pictures) draw(probe string, trial, from, to int) swimlane.Diagram {
	events := history.Trial(p.run.Histories[probe], trial)
	o := p.holds
	o.From, o.To = from, to
	return swimlane.New(events, o)
}

// htmlProbe is every trial of a probe.
type htmlProbe struct {
	record.Probe
	Trials []scene
}

// maxTrials of one probe are drawn.
const maxTrials = 5

// all draws every probe that has something to draw.
func (p pictures) all(probes []record.Probe) []htmlProbe {
	var out []htmlProbe
	for _, probe := range probes {
		h := htmlProbe{Probe: probe}
		for _, n := range history.Trials(p.run.Histories[probe.Name]) {
			if len(h.Trials) == maxTrials {
				break
			}
			s := scene{ID: fmt.Sprintf("all-%s-%d", probe.Name, n), Probe: probe.Name, Trial: n, Diagram: p.draw(probe.Name, n, 0, 0)}
			if !s.Empty() {
				h.Trials = append(h.Trials, s)
			}
		}
		if len(h.Trials) > 0 {
			out = append(out, h)
		}
	}
	return out
}
