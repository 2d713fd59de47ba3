package reports

import (
	"strings"

	"github.com/olekukonko/tablewriter/pkg/twwidth"
)

// Wrap breaks text into lines of at most width columns, between words where it
// can. Words longer than a line are cut.
func Wrap(text string, width int) []string {
	return wrapWords(strings.Fields(oneLine(text)), width)
}

// wrapCommand breaks a command for a shell, in which it stays one command: a line
// that goes on ends with a backslash, and neither what is quoted nor a flag and its
// value are broken.
func wrapCommand(command string, width int) []string {
	var words []string
	for _, word := range strings.Fields(oneLine(command)) {
		last := len(words) - 1
		if last >= 0 && (quoting(words[last]) || strings.HasPrefix(words[last], "--") && !strings.Contains(words[last], " ") && !strings.HasPrefix(word, "-")) {
			words[last] += " " + word
			continue
		}
		words = append(words, word)
	}
	lines := wrapWords(words, width-2)
	for i := range lines[:len(lines)-1] {
		lines[i] += ` \`
	}
	return lines
}

// quoting: a quotation is not closed yet. One of a quote is '\”.
func quoting(s string) bool { return strings.Count(strings.ReplaceAll(s, `'\''`, ""), "'")%2 == 1 }

func wrapWords(words []string, width int) []string {
	width = max(width, 1)
	var lines []string
	line, used := "", 0
	flush := func() {
		lines = append(lines, line)
		line, used = "", 0
	}
	for _, word := range words {
		n := twwidth.Width(word)
		if used > 0 && used+1+n > width {
			flush()
		}
		for n > width {
			if used > 0 {
				flush()
			}
			var head string
			head, word = cut(word, width)
			lines = append(lines, head)
			n = twwidth.Width(word)
		}
		if used > 0 {
			line, used = line+" ", used+1
		}
		line, used = line+word, used+n
	}
	if used > 0 || len(lines) == 0 {
		flush()
	}
	return lines
}

// cut splits a word after as many runes as fit, at least one.
func cut(word string, width int) (head, tail string) {
	used := 0
	for i, c := range word {
		n := twwidth.Width(string(c))
		if i > 0 && used+n > width {
			return word[:i], word[i:]
		}
		used += n
	}
	return word, ""
}
