package reports

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/lockaudit/lockaudit/checklist"
	"github.com/lockaudit/lockaudit/record"
	"github.com/santhosh-tekuri/jsonschema/v6"
)

func schema(t *testing.T) *jsonschema.Schema {
	t.Helper()
	c := jsonschema.NewCompiler()
	c.AssertFormat()
	s, err := c.Compile(filepath.Join("..", "docs", "schema", "report.schema.json"))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func encode(t *testing.T, r Report) string {
	t.Helper()
	var out bytes.Buffer
	if err := JSON(&out, r); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

func validate(t *testing.T, s *jsonschema.Schema, text string) error {
	t.Helper()
	v, err := jsonschema.UnmarshalJSON(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	return s.Validate(v)
}

func TestJSONFollowsTheSchema(t *testing.T) {
	s := schema(t)
	for _, name := range runs {
		if err := validate(t, s, encode(t, report(t, name))); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	// A run that never got anywhere still has a valid report.
	empty := record.Run{Manifest: record.Manifest{Format: record.Format}}
	findings := checklist.Judge(empty)
	if err := validate(t, s, encode(t, New(empty, findings, checklist.GradeOf(findings, empty)))); err != nil {
		t.Errorf("empty run: %v", err)
	}
}

// TestSchemaIsStrict: whatever is added to the report must be added to the schema,
// at every level, and what is promised must be there.
func TestSchemaIsStrict(t *testing.T) {
	s := schema(t)
	var whole map[string]any
	if err := json.Unmarshal([]byte(encode(t, report(t, "residue"))), &whole); err != nil {
		t.Fatal(err)
	}
	at := func(v any, path ...any) map[string]any {
		for _, p := range path {
			switch p := p.(type) {
			case string:
				v = v.(map[string]any)[p]
			case int:
				v = v.([]any)[p]
			}
		}
		return v.(map[string]any)
	}
	for _, path := range [][]any{
		{}, {"run"}, {"run", "subject"}, {"grade"}, {"belief"}, {"findings", 0},
		{"findings", 0, "evidence", 0}, {"probes", 0}, {"residue", 0},
	} {
		object := at(whole, path...)
		object["surprise"] = 1
		if text, _ := json.Marshal(whole); validate(t, s, string(text)) == nil {
			t.Errorf("the schema accepts an unknown key at %v", path)
		}
		delete(object, "surprise")
	}
	delete(at(whole, "grade"), "letter")
	if text, _ := json.Marshal(whole); validate(t, s, string(text)) == nil {
		t.Error("the schema accepts a grade without a letter")
	}
}

// TestSchemaKnowsEveryField, also those that no fixture has.
func TestSchemaKnowsEveryField(t *testing.T) {
	data, err := os.ReadFile(filepath.Join("..", "docs", "schema", "report.schema.json"))
	if err != nil {
		t.Fatal(err)
	}
	var s struct {
		Defs map[string]struct {
			Properties map[string]any `json:"properties"`
		} `json:"$defs"`
	}
	if err := json.Unmarshal(data, &s); err != nil {
		t.Fatal(err)
	}
	for name, kind := range map[string]reflect.Type{
		"run": reflect.TypeFor[Run](), "subject": reflect.TypeFor[record.Subject](), "grade": reflect.TypeFor[checklist.Grade](),
		"belief": reflect.TypeFor[Belief](), "finding": reflect.TypeFor[checklist.Finding](), "evidence": reflect.TypeFor[checklist.Evidence](),
		"alert": reflect.TypeFor[record.Alert](), "owner": reflect.TypeFor[record.Owner](), "waiver": reflect.TypeFor[checklist.Waiver](),
		"probe": reflect.TypeFor[record.Probe](), "residue": reflect.TypeFor[record.Residue](),
	} {
		for field := range kind.Fields() {
			key, _, _ := strings.Cut(field.Tag.Get("json"), ",")
			if _, known := s.Defs[name].Properties[key]; !known {
				t.Errorf("the schema does not know %s.%s", name, key)
			}
		}
	}
}
