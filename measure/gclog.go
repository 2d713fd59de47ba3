package measure

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/lockaudit/lockaudit/history"
)

// maxGCLog is how much of a garbage collection log is read, from its end: hours of most.
const maxGCLog = 8 << 20

// What the JVM writes of its stops. Safepoints have every stop in them, collections only
// those; where the log has both, safepoints count.
var (
	// [2.865s][info][safepoint] Safepoint "G1CollectForAllocation", …, Total: 13189254 ns  (JDK 13 and later)
	safepointTotal = regexp.MustCompile(`Safepoint "[^"]*",.* Total: +(\d+) ns`)
	// Total time for which application threads were stopped: 0.0001234 seconds             (JDK 8 to 12)
	stoppedSeconds = regexp.MustCompile(`application threads were stopped: ([0-9.,]+) seconds`)
	// [2.865s][info][gc] GC(32) Pause Full (G1 Compaction Pause) 124M->124M(128M) 7.262ms
	gcPause = regexp.MustCompile(`GC\(\d+\) Pause .* ([0-9.,]+)ms`)
	// The time since the JVM's start, one of the default decorations.
	uptime = regexp.MustCompile(`\[([0-9]+[.,][0-9]+)s\]`)
)

// readGCLog reads a JVM's log back from its end.
func readGCLog(name string) (history.Sample, error) {
	if !filepath.IsAbs(name) {
		return history.Sample{}, fmt.Errorf("gc log %q is not an absolute path: %w", name, ErrParams)
	}
	path, err := onlyMatch(name)
	if err != nil {
		return history.Sample{}, err
	}
	f, at, err := openLog(path)
	if err != nil {
		return history.Sample{}, err
	}
	defer f.Close()
	from := max(0, at.size-maxGCLog)
	data := make([]byte, at.size-from)
	if _, err := f.ReadAt(data, from); err != nil && !errors.Is(err, io.EOF) {
		return history.Sample{}, err
	}
	if from > 0 {
		_, data, _ = bytes.Cut(data, []byte("\n"))
	}
	s := parseGCLog(string(data))
	s.Source = "gc log " + path
	if from > 0 {
		s.Notes = append(s.Notes, fmt.Sprintf("of its last %d MiB", maxGCLog>>20))
	}
	return s, nil
}

func parseGCLog(text string) history.Sample {
	var points, pauses []time.Duration
	var over, begun, last time.Duration
	timed := false
	for line := range strings.Lines(text) {
		if m := uptime.FindStringSubmatch(line); m != nil {
			at := seconds(m[1], time.Second)
			if !timed || at < last { // the first, or the JVM was started again
				over, begun, timed = over+last-begun, at, true
			}
			last = at
		}
		if m := safepointTotal.FindStringSubmatch(line); m != nil {
			points = append(points, seconds(m[1], time.Nanosecond))
		} else if m := stoppedSeconds.FindStringSubmatch(line); m != nil {
			points = append(points, seconds(m[1], time.Second))
		} else if m := gcPause.FindStringSubmatch(line); m != nil {
			pauses = append(pauses, seconds(m[1], time.Millisecond))
		}
	}
	over += last - begun
	what := "safepoints"
	if len(points) == 0 {
		points, what = pauses, "collections only: -Xlog:gc,safepoint has every stop"
	}
	s := history.NewSample(history.SampleStop, points, over)
	s.Notes = []string{what}
	if len(points) == 0 {
		s.Notes, s.Over = []string{"no line of a stop in it"}, 0 // nor would there be one
	}
	return s
}

// seconds reads a number of units; the decimal sign is the locale's.
func seconds(number string, unit time.Duration) time.Duration {
	f, err := strconv.ParseFloat(strings.Replace(number, ",", ".", 1), 64)
	if err != nil {
		return 0
	}
	return time.Duration(f * float64(unit))
}
