package checklist

import (
	"regexp"
	"strings"

	"github.com/lockaudit/lockaudit/history"
)

var (
	// hump is where camel case begins a word: lockNotAcquired.
	hump = regexp.MustCompile(`([a-z0-9])([A-Z])`)
	// lockWord is what names a lock: the words of the lock libraries' own metrics
	// and log lines. Words begin there, or "block" and "clock" would count.
	lockWord = regexp.MustCompile(`(^|[^a-z])(locks?|locked|locking|leases?|leader|mutex|acquir|contention|contended|election)`)
	// failWord is what names a failure.
	failWord = regexp.MustCompile(`(^|[^a-z])(fail|held|refus|reject|denied|timeout|timed|not|busy|conflict|conten|block|lost|skip|error|miss|unable|slowpath|cannot|could)`)
	// number is what differs from one line of a kind to the next: times, ids, tokens.
	number = regexp.MustCompile(`[0-9a-fA-F]*[0-9][0-9a-fA-F]*`)
	// ofRuntime are the series that every process of a language has and that
	// move at any time.
	ofRuntime = regexp.MustCompile(`^(go|process|promhttp|python|jvm|nodejs|ruby|dotnet|scrape)_`)
)

func namesLock(text string) bool    { return lockWord.MatchString(separate(text)) }
func namesFailure(text string) bool { return failWord.MatchString(separate(text)) }

func separate(text string) string {
	return strings.ToLower(hump.ReplaceAllString(text, "${1}_${2}"))
}

// shape is a log line without what differs from one to the next.
func shape(line string) string { return number.ReplaceAllString(line, "#") }

// calm is what changes at one source while nobody is refused, in any trial.
type calm struct {
	moved  map[string]bool // series
	shapes map[string]bool // of lines
}

func newCalm() *calm { return &calm{map[string]bool{}, map[string]bool{}} }

func (c *calm) add(quiet *history.Signal) {
	for _, m := range quiet.Moved {
		c.moved[m.Series] = true
	}
	for _, l := range quiet.Lines {
		c.shapes[shape(l.Text)] = true
	}
}

// newMoves are the moves of a window with refusals that never happen without,
// and are not the language's runtime's.
func (c *calm) newMoves(refused *history.Signal) []history.Move {
	var out []history.Move
	for _, m := range refused.Moved {
		if !c.moved[m.Series] && !ofRuntime.MatchString(m.Series) {
			out = append(out, m)
		}
	}
	return out
}

// tells: the move is about the refusals. Its name speaks of a lock and of a
// failure, or of one of them and it is a counter that grew by just their number.
func tells(m history.Move, refusals int) bool {
	grew := m.After - m.Before
	counts := m.Type == "counter" || m.Type == "untyped"
	if counts && grew < 0 {
		return false // the process was restarted
	}
	lock, failure := namesLock(m.Series), namesFailure(m.Series)
	exact := counts && refusals > 0 && grew == float64(refusals)
	return lock && failure || exact && (lock || failure)
}

// newLines are the lines of a window with refusals that none without looks like.
func (c *calm) newLines(refused *history.Signal) []history.Line {
	var out []history.Line
	for _, l := range refused.Lines {
		if !c.shapes[shape(l.Text)] {
			out = append(out, l)
		}
	}
	return out
}

// speaksOf: the line names the key, or a lock.
func speaksOf(l history.Line, key string) bool {
	return key != "" && strings.Contains(l.Text, key) || namesLock(l.Text)
}
