package reports

import (
	_ "embed"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/chromedp/chromedp/kb"
)

// look finds what is wrong with the page as it stands.
//
//go:embed testdata/look.js
var look string

// TestInTheBrowser opens every report at every width, light and dark: nothing
// overflows, nothing is unreadable, nothing is loaded, nothing complains.
func TestInTheBrowser(t *testing.T) {
	b := newBrowser(t)
	run, r := hostileRun(t)
	for _, j := range append(everyRun(t), judgedRun{"hostile", run, r}) {
		url := b.open(render(t, func(w io.Writer) error { return HTML(w, j.report, j.run) }))
		eval[bool](b, `document.querySelectorAll("details").forEach(d => d.open = true), true`)
		for _, scheme := range []string{"light", "dark"} {
			for _, width := range []int64{320, 360, 400, 600, 761, 1024, 1280} {
				b.show(width, "screen", scheme)
				for _, wrong := range eval[[]string](b, look) {
					t.Errorf("%s, %d px, %s: %s", j.name, width, scheme, wrong)
				}
			}
		}
		said, requests := b.heard()
		if len(said) > 0 {
			t.Errorf("%s: the console: %q", j.name, said)
		}
		for _, asked := range requests {
			if asked != url && !strings.HasPrefix(asked, "data:") {
				t.Errorf("%s: the page asked for %s", j.name, asked)
			}
		}
		if !slices.Contains(requests, url) {
			t.Error("the request for the page itself was not seen: the test sees nothing")
		}
	}
}

// focus is where the keyboard is.
type focus struct {
	Index   int // of the element in the document
	Tag     string
	Visible bool // within the window and with a ring around it
	Text    string
}

const focused = `(() => { const e = document.activeElement, r = e.getBoundingClientRect(), s = getComputedStyle(e);
	return {Index: [...document.querySelectorAll("*")].indexOf(e), Tag: e.tagName, Text: e.textContent.slice(0, 40),
		Visible: r.width > 0 && r.left >= 0 && r.bottom > 0 && r.top < innerHeight && s.outlineStyle !== "none" && parseFloat(s.outlineWidth) >= 2}; })()`

// TestKeyboard: Tab reaches every link, every folded part and everything that
// scrolls, with a visible focus, and Enter unfolds.
func TestKeyboard(t *testing.T) {
	b := newBrowser(t)
	run, r := doubleRun(t)
	b.open(render(t, func(w io.Writer) error { return HTML(w, r, run) }))
	b.show(1280, "screen", "light")
	// What lies in a folded part cannot be reached, and shall not.
	want := eval[int](b, `[...document.querySelectorAll("a[href], summary, [tabindex='0']")].filter(e => e.matches("summary") || e.checkVisibility({contentVisibilityAuto: true})).length`)
	visited := map[int]bool{}
	unfolded := false
	for i := range want {
		b.press(kb.Tab)
		f := eval[focus](b, focused)
		if i == 0 && f.Text != "Skip to the result" || !f.Visible {
			t.Errorf("Tab %d: %+v", i+1, f)
		}
		visited[f.Index] = true
		if f.Tag == "SUMMARY" && !unfolded {
			unfolded = true
			b.press(kb.Enter)
			if !eval[bool](b, `document.activeElement.parentElement.open`) {
				t.Error("Enter does not unfold")
			}
			b.press(kb.Enter)
		}
	}
	if len(visited) != want || !unfolded {
		t.Errorf("Tab reaches %d of %d places; something to unfold among them: %v", len(visited), want, unfolded)
	}
}
