package reports

import (
	"fmt"
	"io"
	"net/url"

	"github.com/lockaudit/lockaudit/record"
)

// RollupHTML writes the page as one file that needs nothing else. It links to the report
// of each lock, which lies in the lock's own folder.
func RollupHTML(w io.Writer, r Rollup) error {
	p := htmlRollup{Rollup: r, LetterWords: letterWords(r.Letter), Residue: r.residue()}
	for i, l := range r.Locks {
		v := htmlLock{RolledLock: l, ID: fmt.Sprintf("lock-%d", i+1), Letter: l.letter(), Owner: ownerWords(l.Owner), Words: l.words(), More: l.more()}
		if l.Run != "" && l.Report != nil {
			v.Link = url.PathEscape(l.Run) + "/report.html"
		}
		if l.Report != nil {
			v.Waived = sentence(l.Report.waivedWords())
		}
		for _, f := range l.worstOf() {
			// Without the run's histories: the pictures are in the lock's own report.
			v.Worst = append(v.Worst, newHTMLFinding(*l.Report, f, pictures{}))
		}
		p.Views = append(p.Views, v)
	}
	return writeHTML(w, "rollup.gohtml", p)
}

type htmlRollup struct {
	Rollup
	LetterWords string
	Residue     []record.Residue
	Views       []htmlLock
}

type htmlLock struct {
	RolledLock
	ID, Letter, Owner string
	Words, Waived     string
	Link              string // to its own report; "" if there is none
	Worst             []htmlFinding
	More              int
}
