package plan

import (
	"os"
	"reflect"
	"regexp"
	"strings"
	"testing"
)

// The examples are plans, and plan.yaml has every key that a plan may have, as it says.
func TestExamples(t *testing.T) {
	for _, path := range []string{"../examples/plan.yaml", "../examples/vagrant.yaml", "../examples/locks.yaml"} {
		if _, _, err := Load(path); err != nil {
			t.Error(err)
		}
	}
	text, err := os.ReadFile("../examples/plan.yaml")
	if err != nil {
		t.Fatal(err)
	}
	keys := map[string]bool{}
	yamlKeys(reflect.TypeFor[Plan](), keys)
	if len(keys) < 40 {
		t.Errorf("only %d keys were found in the types", len(keys))
	}
	for key := range keys {
		if !regexp.MustCompile(`\b` + key + `:`).Match(text) {
			t.Errorf("examples/plan.yaml has no %s", key)
		}
	}
}

func yamlKeys(t reflect.Type, into map[string]bool) {
	switch t.Kind() {
	case reflect.Pointer, reflect.Slice, reflect.Map:
		yamlKeys(t.Elem(), into)
	case reflect.Struct:
		for i := range t.NumField() {
			name, options, _ := strings.Cut(t.Field(i).Tag.Get("yaml"), ",")
			if name == "-" || name == "" && !strings.Contains(options, "inline") {
				continue
			}
			if name != "" {
				into[name] = true
			}
			yamlKeys(t.Field(i).Type, into)
		}
	}
}
