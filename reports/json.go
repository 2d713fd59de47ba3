package reports

import (
	"encoding/json"
	"fmt"
	"io"
)

// JSON writes the report as docs/schema/report.schema.json describes it.
func JSON(w io.Writer, r Report) error {
	out := json.NewEncoder(w)
	out.SetIndent("", "  ")
	out.SetEscapeHTML(false)
	if err := out.Encode(r); err != nil {
		return fmt.Errorf("write report: %w", err)
	}
	return nil
}
