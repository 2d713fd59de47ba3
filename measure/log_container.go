package measure

import (
	"encoding/json"
	"strings"
	"time"
)

// rawLine is a line as it stands in a file.
type rawLine struct {
	text  string // with its end
	place int    // index of the file
	start int64
}

// decodeLines takes the frames off lines that a container runtime wrote, and puts those
// together again that it cut; any other line stays as it is. held is the first raw line of
// which the rest has not come yet, len(raw) if there is none: it and what follows is not
// among the lines.
//
// The formats, each line telling by itself which it is in:
//
//	CRI          2026-11-24T09:00:00.123456789Z stdout F the line
//	             with P for all but the last part of a long line (kubernetes/cri-api)
//	json-file    {"log":"the line\n","stream":"stdout","time":"2026-…"}
//	             without \n for all but the last part (moby/daemon/logger/jsonfilelog)
func decodeLines(raw []rawLine) (lines []string, held int) {
	type open struct {
		text  strings.Builder
		first int
	}
	parts := map[string]*open{} // by stream: they are cut independently of each other
	ends := make([]int, 0, len(raw))
	for i, r := range raw {
		stream, text, whole := unframe(r.text)
		o := parts[stream]
		if stream != "" && o == nil && !whole {
			o = &open{first: i}
			parts[stream] = o
		}
		if o != nil && stream != "" {
			o.text.WriteString(text)
			if !whole {
				continue
			}
			text = o.text.String()
			delete(parts, stream)
		}
		lines, ends = append(lines, text), append(ends, i)
	}
	held = len(raw)
	for _, o := range parts {
		held = min(held, o.first)
	}
	n := len(lines)
	for n > 0 && ends[n-1] >= held {
		n--
	}
	return lines[:n], held
}

// unframe takes one line's frame off. stream is "" where it has none.
func unframe(line string) (stream, text string, whole bool) {
	if strings.HasPrefix(line, "{") {
		return unframeJSON(line)
	}
	at, rest, _ := strings.Cut(line, " ")
	stream, rest, _ = strings.Cut(rest, " ")
	tags, text, framed := strings.Cut(rest, " ")
	tag, _, _ := strings.Cut(tags, ":")
	if !framed { // an empty line: "… stdout F\n"
		tag = strings.TrimRight(tag, "\r\n")
	}
	if stream != "stdout" && stream != "stderr" || tag != "F" && tag != "P" {
		return "", line, true
	}
	if _, err := time.Parse(time.RFC3339Nano, at); err != nil {
		return "", line, true
	}
	return stream, strings.TrimSuffix(text, "\n"), tag == "F"
}

func unframeJSON(line string) (stream, text string, whole bool) {
	var frame struct {
		Log    *string   `json:"log"`
		Stream string    `json:"stream"`
		Time   time.Time `json:"time"`
	}
	// An application that writes JSON itself has other keys, and stays as it is.
	if err := json.Unmarshal([]byte(line), &frame); err != nil || frame.Log == nil || frame.Time.IsZero() || frame.Stream != "stdout" && frame.Stream != "stderr" {
		return "", line, true
	}
	text, whole = strings.CutSuffix(*frame.Log, "\n")
	return frame.Stream, text, whole
}
