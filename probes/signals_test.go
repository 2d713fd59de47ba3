package probes

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/lockaudit/lockaudit/history"
	"github.com/lockaudit/lockaudit/measure"
)

// local measures on this machine, as an agent would.
type local struct {
	Stage
	file string
}

func here[R any](ctx context.Context, kind measure.Kind, params any) (out R, err error) {
	raw, err := json.Marshal(params)
	if err == nil {
		raw, err = measure.Run(ctx, kind, raw)
	}
	if err == nil {
		err = json.Unmarshal(raw, &out)
	}
	return out, err
}

func (l local) Metrics(ctx context.Context, url string) (Page, error) {
	p, err := here[measure.Page](ctx, measure.KindFetch, measure.Fetch{URL: url})
	if err != nil {
		return Page{}, err
	}
	text, err := p.Text()
	return Page{Status: p.Status, ContentType: p.ContentType, Text: text}, err
}

func (l local) LogSince(ctx context.Context, mark string) ([]string, string, error) {
	out, err := here[measure.Lines](ctx, measure.KindLog, measure.Log{File: l.file, From: mark})
	return out.Lines, out.Mark, err
}

type memory struct {
	mu     sync.Mutex
	events []history.Event
}

func (m *memory) Append(e history.Event) (history.Event, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	e.Seq = len(m.events) + 1
	m.events = append(m.events, e)
	return e, nil
}

// application is one with a metric, a log, and a scrape counter that moves
// whenever it is looked at.
type application struct {
	held, scrapes atomic.Int64
	html          atomic.Bool
	file          string
	url           string
	down          func() // ends the metrics endpoint; may be called twice
}

func newApplication(t *testing.T) *application {
	a := &application{file: filepath.Join(t.TempDir(), "app.log")}
	if err := os.WriteFile(a.file, []byte("began\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if a.html.Load() {
			w.Header().Set("Content-Type", "text/html")
			return
		}
		fmt.Fprintf(w, "# TYPE lock_held_total counter\nlock_held_total %d\n# TYPE scrapes_total counter\nscrapes_total %d\n", a.held.Load(), a.scrapes.Add(1))
	}))
	t.Cleanup(server.Close)
	a.url, a.down = server.URL, server.Close
	return a
}

func (a *application) refuse(t *testing.T) {
	t.Helper()
	a.held.Add(1)
	f, err := os.OpenFile(a.file, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		t.Error(err)
		return
	}
	defer f.Close()
	if _, err := f.WriteString("lock not acquired\n"); err != nil {
		t.Error(err)
	}
}

// windows watches a quiet and a refused window; what may be wrong is done in the latter.
func windows(t *testing.T, a *application, wrong func()) (quiet, refused map[string]history.Event) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	defer cancel()
	log := &memory{}
	trial := &Trial{Number: 1, Log: log, Stage: local{file: a.file}, Progress: func(string, time.Time) {}}
	trial.Metrics, trial.LogFile = []string{strings.Replace(a.url, "http://", "http://u:s3cret@", 1)}, a.file
	sources := trial.sources()
	for _, s := range sources {
		s.look(ctx, 0)
	}
	if err := trial.watch(ctx, sources, history.PhaseQuiet, func(func()) int { return 0 }); err != nil {
		t.Fatal(err)
	}
	err := trial.watch(ctx, sources, history.PhaseRefused, func(refused func()) int {
		a.refuse(t)
		refused()
		wrong()
		a.refuse(t)
		return 2
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := history.Validate(log.events); err != nil {
		t.Error(err)
	}
	quiet, refused = map[string]history.Event{}, map[string]history.Event{}
	for _, e := range log.events {
		if strings.Contains(fmt.Sprintf("%+v", e.Signal), "s3cret") {
			t.Errorf("the record holds the password: %+v", e.Signal)
		}
		switch {
		case e.Type == history.Invoke:
		case e.Signal.Phase == history.PhaseQuiet:
			quiet[e.Signal.Kind] = e
		default:
			refused[e.Signal.Kind] = e
		}
	}
	return quiet, refused
}

func TestWatchSeesWhatMovesOnlyWithRefusals(t *testing.T) {
	quiet, refused := windows(t, newApplication(t), func() {})
	if m := quiet[history.KindMetrics].Signal; len(m.Moved) != 1 || m.Moved[0].Series != "scrapes_total" || m.Refusals != 0 {
		t.Errorf("quiet metrics: %+v", m)
	}
	if l := quiet[history.KindLog].Signal; len(l.Lines) != 0 {
		t.Errorf("quiet log: %+v", l)
	}
	m := refused[history.KindMetrics].Signal
	if len(m.Moved) != 2 || m.Moved[0].Series != "lock_held_total" || m.Moved[0].Before != 0 || m.Moved[0].After != 2 || m.Refusals != 2 {
		t.Errorf("metrics: %+v", m)
	}
	if seen := m.Moved[0].Seen; seen <= 0 || seen > m.Over {
		t.Errorf("seen after %s in a window of %s", seen, m.Over)
	}
	if q := quiet[history.KindMetrics].Signal; q.Series != 2 || len(q.Still) != 1 || q.Still[0] != "lock_held_total" || len(m.Still) != 0 {
		t.Errorf("still: %+v, then %+v", q, m)
	}
	if l := refused[history.KindLog].Signal; len(l.Lines) != 2 || l.Lines[0].Text != "lock not acquired" {
		t.Errorf("log: %+v", l)
	}
	if q := quiet[history.KindMetrics].Signal.Over; q < signalWindow {
		t.Errorf("the quiet window lasted %s", q)
	}
}

func TestWatchOfBrokenSources(t *testing.T) {
	a := newApplication(t)
	_, refused := windows(t, a, func() {
		a.html.Store(true)
		if err := errors.Join(os.Remove(a.file), os.WriteFile(a.file, []byte("a new file\n"), 0o600)); err != nil {
			t.Error(err)
		}
	})
	if e := refused[history.KindMetrics]; e.Type != history.Fail || !strings.Contains(e.Err, "text/html, not metrics") {
		t.Errorf("html: %+v", e)
	}
	if e := refused[history.KindLog]; e.Type != history.Fail || !strings.Contains(e.Err, "rotated") {
		t.Errorf("rotated: %+v %+v", e, *e.Signal)
	}
}

// TestWatchOfAMetricsEndpointThatGoesDown: the window is lost, and says why; the log
// beside it is read all the same.
func TestWatchOfAMetricsEndpointThatGoesDown(t *testing.T) {
	a := newApplication(t)
	quiet, refused := windows(t, a, a.down)
	if e := quiet[history.KindMetrics]; e.Type != history.OK {
		t.Errorf("while it was up: %+v", e)
	}
	if e := refused[history.KindMetrics]; e.Type != history.Fail || !strings.Contains(e.Err, "connection refused") {
		t.Errorf("down: %+v", e)
	}
	if e := refused[history.KindLog]; e.Type != history.OK || len(e.Signal.Lines) != 2 {
		t.Errorf("the log: %+v", e)
	}
}

// TestWindowsThatCannotBeCompared: a log that was rotated just then, windows of which
// one took much longer, and a B that was not refused are no premise for a verdict; a
// metrics endpoint that is down is an answer.
func TestWindowsThatCannotBeCompared(t *testing.T) {
	log := func(err error) []*source { return []*source{{kind: history.KindLog, err: err}} }
	for _, tt := range []struct {
		name           string
		sources        []*source
		quiet, refused time.Duration
		refusals       int
		premise        bool
	}{
		{"alike", log(nil), 2 * time.Second, 3 * time.Second, 4, false},
		{"endpoint down", log(errors.New("connection refused")), 2 * time.Second, 2 * time.Second, 4, false},
		{"rotated", log(fmt.Errorf("%w: app.log", ErrRotated)), 2 * time.Second, 2 * time.Second, 4, true},
		{"one took longer", log(nil), 2 * time.Second, 5 * time.Second, 4, true},
		{"nobody refused", log(nil), 2 * time.Second, 2 * time.Second, 0, true},
	} {
		if err := comparable(tt.sources, tt.quiet, tt.refused, tt.refusals); errors.Is(err, ErrPremise) != tt.premise || err != nil && !tt.premise {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
}
