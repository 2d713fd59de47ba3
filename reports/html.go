package reports

import (
	"bytes"
	"embed"
	"fmt"
	"html/template"
	"io"
	"strings"
	"time"

	"github.com/lockaudit/lockaudit/checklist"
	"github.com/lockaudit/lockaudit/record"
	"github.com/lockaudit/lockaudit/reports/swimlane"
)

//go:embed html
var files embed.FS

// staleWord is how a judge marks the write that should not have been accepted.
const staleWord = "stale: "

// HTML writes the report as one file that needs nothing else: no script, no network,
// no font. It reads the timelines from the run that r was made of.
func HTML(w io.Writer, r Report, run record.Run) error {
	return writeHTML(w, "report.gohtml", newHTMLPage(r, run))
}

// writeHTML fills a template in.
func writeHTML(w io.Writer, name string, page any) error {
	style, err := files.ReadFile("html/style.css")
	if err != nil {
		return fmt.Errorf("write report: %w", err)
	}
	pages, err := template.New("report").Funcs(template.FuncMap{
		"locks":      locksOf,
		"duration":   checklist.Duration,
		"exact":      swimlane.Duration,
		"sentence":   sentence,
		"probeWords": probeWords,
		"nodeWords":  nodeWords, "clockWords": clockWords,
		// A command breaks between its words, or within one that is longer than a line.
		"shellWords": func(s string) []string { return strings.Split(s, " ") },
		"at":         func(d time.Duration) string { return fmt.Sprintf("%+.3f s", d.Seconds()) },
		"isStale":    func(e checklist.Evidence) bool { return strings.Contains(e.Text, staleWord) },
		"px":         func(v float64) string { return fmt.Sprintf("%.1f", v) },
		// The style is the package's own file, not foreign text.
		"style": func() template.CSS { return template.CSS(style) },
	}).ParseFS(files, "html/*.gohtml")
	if err != nil {
		return fmt.Errorf("write report: %w", err)
	}
	// A report is whole or it is not written.
	var out bytes.Buffer
	if err := pages.ExecuteTemplate(&out, name, page); err != nil {
		return fmt.Errorf("write report: %w", err)
	}
	// The template escapes what means something in HTML; control characters mean
	// nothing there, but may to whoever prints the file to a terminal.
	var clean strings.Builder
	for line := range strings.Lines(out.String()) {
		if line = strings.TrimSpace(oneLine(line)); line != "" {
			clean.WriteString(line + "\n")
		}
	}
	if _, err := io.WriteString(w, clean.String()); err != nil {
		return fmt.Errorf("write report: %w", err)
	}
	return nil
}
