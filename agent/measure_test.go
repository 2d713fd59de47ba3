package agent

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/lockaudit/lockaudit/history"
	"github.com/lockaudit/lockaudit/measure"
)

func TestMeasureThroughTheAgent(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte("lock_acquire_total 1\n"))
	}))
	defer server.Close()
	var trace bytes.Buffer
	c, err := Dial(testCtx(t), testCommand(t, stateDir(t)), &trace)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()

	var s history.Sample
	if err := c.Measure(testCtx(t), measure.KindPauses, measure.Pauses{For: 100 * time.Millisecond}, &s); err != nil || s.Count == 0 {
		t.Errorf("pauses: %v %+v", err, s)
	}
	var clock measure.Reading
	before := time.Now().UnixNano()
	err = c.Measure(testCtx(t), measure.KindClock, measure.Clock{}, &clock)
	if after := time.Now().UnixNano(); err != nil || clock.Unix < before || clock.Unix > after {
		t.Errorf("clock: %v %d, read between %d and %d", err, clock.Unix, before, after)
	}
	var page measure.Page
	url := strings.Replace(server.URL, "http://", "http://u:s3cret@", 1)
	if err := c.Measure(testCtx(t), measure.KindFetch, measure.Fetch{URL: url}, &page); err != nil {
		t.Fatal(err)
	}
	if text, err := page.Text(); err != nil || string(text) != "lock_acquire_total 1\n" {
		t.Errorf("%q %v", text, err)
	}
	// Sentinels come over the wire.
	path := filepath.Join(t.TempDir(), "app.log")
	if err := os.WriteFile(path, []byte("a line\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	var lines measure.Lines
	if err := c.Measure(testCtx(t), measure.KindLog, measure.Log{File: path}, &lines); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path, 0); err != nil {
		t.Fatal(err)
	}
	if err := c.Measure(testCtx(t), measure.KindLog, measure.Log{File: path, From: lines.Mark}, &lines); !errors.Is(err, measure.ErrRotated) {
		t.Errorf("rotated: %v", err)
	}
	if err := c.Measure(testCtx(t), "dance", nil, &s); err == nil || !strings.Contains(err.Error(), "unknown kind") {
		t.Errorf("unknown kind: %v", err)
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(trace.String(), "s3cret") || strings.Contains(trace.String(), "hiccup") {
		t.Errorf("the trace has what it must not:\n%s", trace.String())
	}
	if !strings.Contains(trace.String(), `"measure":{"kind":"fetch"}`) {
		t.Errorf("the trace does not name the order:\n%s", trace.String())
	}
}

// TestMeasureEndsWithTheConnection: a long measurement does not hold up the end.
func TestMeasureEndsWithTheConnection(t *testing.T) {
	c := dial(t, testCommand(t, stateDir(t)))
	done := make(chan error, 1)
	go func() {
		var s history.Sample
		done <- c.Measure(context.Background(), measure.KindPauses, measure.Pauses{For: measure.MaxPauses}, &s)
	}()
	within(t, "the order is pending", func() bool {
		c.link.mu.Lock()
		defer c.link.mu.Unlock()
		return len(c.link.pending) == 1
	})
	began := time.Now()
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err == nil {
		t.Error("a measurement that was cut off has a result")
	}
	if took := time.Since(began); took > 20*time.Second {
		t.Errorf("the end took %s", took)
	}
}
