package reports

import (
	"bytes"
	"encoding/xml"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"unicode"

	paper "github.com/chromedp/cdproto/page"
)

// TestPrint: on paper everything that proves a verdict is there, though it is folded
// on the screen, in dark on light.
func TestPrint(t *testing.T) {
	b := newBrowser(t)
	run, r := doubleRun(t)
	b.open(render(t, func(w io.Writer) error { return HTML(w, r, run) }))
	height := func() float64 {
		return eval[float64](b, `(d => d.checkVisibility({contentVisibilityAuto: true}) ? d.getBoundingClientRect().height : 0)(document.querySelector("details.finding dl"))`)
	}
	b.show(1280, "screen", "dark")
	if height() > 0 {
		t.Error("an item that passes is not folded on the screen")
	}
	b.show(720, "print", "dark")
	if height() == 0 {
		t.Error("an item that passes is folded on paper")
	}
	if background := eval[string](b, `getComputedStyle(document.body).backgroundColor`); background != "rgb(255, 255, 255)" {
		t.Errorf("paper is %s", background)
	}
	for _, wrong := range eval[[]string](b, look) {
		t.Errorf("on paper: %s", wrong)
	}
}

// TestPrintedPages prints every report and reads the paper: nothing is lost or cut
// off, the first page has the result, and no page ends with a heading.
func TestPrintedPages(t *testing.T) {
	b := newBrowser(t)
	for _, j := range everyRun(t) {
		b.open(render(t, func(w io.Writer) error { return HTML(w, j.report, j.run) }))
		b.show(720, "print", "light")
		texts := eval[[]string](b, `[...document.querySelectorAll("h1,h2,h3,h4,p,li,dt,dd,td,th,svg.wide text")]
			.filter(e => e.checkVisibility({contentVisibilityAuto: true}) && getComputedStyle(e).clip === "auto" && !e.closest(".hidden,.skip,nav") && !e.querySelector("h3,p,li,dd"))
			.map(e => e.innerText ?? e.textContent).filter(s => s.trim())`)
		heads := eval[[]string](b, `[...new Set([...document.querySelectorAll("h2,h3,h4,.source")].filter(e => e.checkVisibility()).map(e => e.innerText))]`)
		seen := eval[[]string](b, `[...document.querySelectorAll("article .seen")].map(e => e.innerText)`)
		yes := true
		pages := readPDF(t, call(b, paper.PrintToPDF, paper.PrintToPDFParams{PrintBackground: &yes}).Data)

		const most = 40
		if len(pages) < 3 || len(pages) > most {
			t.Errorf("%s: %d pages", j.name, len(pages))
		}
		whole := ""
		for i, p := range pages {
			if len(p.Words) == 0 {
				t.Errorf("%s: page %d is empty", j.name, i+1)
				continue
			}
			for _, w := range p.Words {
				if w.Left < 0 || w.Top < 0 || w.Right > p.Width || w.Bottom > p.Height {
					t.Errorf("%s: page %d of %.0f x %.0f: %q reaches from %.0f,%.0f to %.0f,%.0f", j.name, i+1, p.Width, p.Height, w.Text, w.Left, w.Top, w.Right, w.Bottom)
				}
			}
			text := p.text()
			whole += text
			for _, head := range heads {
				if strings.HasSuffix(text, bare(head)) {
					t.Errorf("%s: page %d ends with the heading %q", j.name, i+1, head)
				}
			}
		}
		for _, sentence := range seen {
			if i := torn(pages, bare(sentence)); i > 0 {
				t.Errorf("%s: page %d ends in the middle of %q", j.name, i, sentence)
			}
		}
		for _, want := range []string{j.report.Run.Subject.Name, sentence(j.report.Headline), "items tested"} {
			if !strings.Contains(pages[0].text(), bare(want)) {
				t.Errorf("%s: the first page has no %q:\n%s", j.name, want, pages[0].text())
			}
		}
		for _, text := range texts {
			if !strings.Contains(whole, bare(text)) {
				t.Errorf("%s: not on paper: %q", j.name, text)
			}
		}
		if len(texts) < 50 || len(heads) < 5 {
			t.Errorf("%s: %d texts, %d headings: the test looks at nothing", j.name, len(texts), len(heads))
		}
	}
}

// torn is the page that ends in the middle of a text; 0 if none does. A few letters at
// its end may be another text's.
func torn(pages []sheet, text string) int {
	const fewest = 20
	for i, p := range pages {
		for n := fewest; n < len(text); n++ {
			if strings.HasSuffix(p.text(), text[:n]) {
				return i + 1
			}
		}
	}
	return 0
}

// sheet is one printed page, in points.
type sheet struct {
	Width  float64   `xml:"width,attr"`
	Height float64   `xml:"height,attr"`
	Words  []printed `xml:"word"`
}

type printed struct {
	Left   float64 `xml:"xMin,attr"`
	Top    float64 `xml:"yMin,attr"`
	Right  float64 `xml:"xMax,attr"`
	Bottom float64 `xml:"yMax,attr"`
	Text   string  `xml:",chardata"`
}

func (p sheet) text() string {
	var all strings.Builder
	for _, w := range p.Words {
		all.WriteString(bare(w.Text))
	}
	return all.String()
}

// bare is text without blanks and in lower case: where lines and words break is the
// printer's, and capitals are the style's.
func bare(s string) string {
	return strings.ToLower(strings.Map(func(c rune) rune {
		if unicode.IsSpace(c) || unicode.Is(unicode.Cf, c) {
			return -1
		}
		return c
	}, s))
}

// readPDF has poppler read the pages, word by word, in the order of the document.
func readPDF(t *testing.T, pdf []byte) []sheet {
	t.Helper()
	program, err := exec.LookPath("pdftotext")
	if err != nil {
		t.Fatalf("the printed report is read by poppler; run make deps: %v", err)
	}
	dir := t.TempDir()
	in, out := filepath.Join(dir, "report.pdf"), filepath.Join(dir, "report.xml")
	if err := os.WriteFile(in, pdf, 0o600); err != nil {
		t.Fatal(err)
	}
	if words, err := exec.Command(program, "-raw", "-bbox", in, out).CombinedOutput(); err != nil {
		t.Fatalf("pdftotext: %v: %s", err, words)
	}
	text, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	// Its head may hold what is no XML.
	text = regexp.MustCompile(`(?s)^.*<doc>`).ReplaceAll(text, []byte("<doc>"))
	text, _, _ = bytes.Cut(text, []byte("</doc>"))
	var doc struct {
		Pages []sheet `xml:"page"`
	}
	if err := xml.Unmarshal(append(text, "</doc>"...), &doc); err != nil {
		t.Fatalf("read pdftotext: %v", err)
	}
	return doc.Pages
}
