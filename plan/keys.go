package plan

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// checkKeys walks the document beside the type that it will be decoded into and
// refuses keys that the type does not have, keys given twice, and durations
// without a unit: yaml's own strict mode knows neither column nor suggestion.
func checkKeys(node *yaml.Node, t reflect.Type) error {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if node.Kind == yaml.AliasNode {
		return &Error{Line: node.Line, Column: node.Column, Msg: "aliases are not allowed in a plan", Hint: "write the value out"}
	}
	switch {
	case t == reflect.TypeFor[time.Duration]():
		return checkDuration(node)
	case t.Kind() == reflect.Slice && node.Kind == yaml.SequenceNode:
		for _, item := range node.Content {
			if err := checkKeys(item, t.Elem()); err != nil {
				return err
			}
		}
	case t.Kind() == reflect.Map && t.Elem().Kind() == reflect.Struct && node.Kind == yaml.MappingNode:
		for i := 1; i < len(node.Content); i += 2 {
			if err := checkKeys(node.Content[i], t.Elem()); err != nil {
				return err
			}
		}
	case t.Kind() == reflect.Struct && node.Kind == yaml.MappingNode:
		return checkMapping(node, t)
	}
	return nil
}

func checkMapping(node *yaml.Node, t reflect.Type) error {
	fields := map[string]reflect.Type{}
	for field := range t.Fields() {
		if name, _, _ := strings.Cut(field.Tag.Get("yaml"), ","); name != "" && name != "-" {
			fields[name] = field.Type
		}
	}
	if len(fields) == 0 {
		return nil // a type that decodes itself
	}
	seen := map[string]bool{}
	for i := 0; i+1 < len(node.Content); i += 2 {
		key, value := node.Content[i], node.Content[i+1]
		field, known := fields[key.Value]
		if !known {
			return unknownKey(key, fields)
		}
		if seen[key.Value] {
			return &Error{Line: key.Line, Column: key.Column, Msg: fmt.Sprintf("key %q is given twice", key.Value)}
		}
		seen[key.Value] = true
		if err := checkKeys(value, field); err != nil {
			return err
		}
	}
	return nil
}

func unknownKey(key *yaml.Node, fields map[string]reflect.Type) error {
	names := make([]string, 0, len(fields))
	for name := range fields {
		names = append(names, name)
	}
	slices.Sort(names)
	out := &Error{Line: key.Line, Column: key.Column, Msg: fmt.Sprintf("unknown key %q", key.Value)}
	if near := Nearest(key.Value, names); near != "" {
		out.Hint = fmt.Sprintf("did you mean %q?", near)
	} else {
		out.Hint = "known here: " + strings.Join(names, ", ")
	}
	return out
}

func checkDuration(node *yaml.Node) error {
	if _, err := time.ParseDuration(node.Value); err != nil || node.Value == "0" {
		return &Error{
			Line: node.Line, Column: node.Column, Msg: fmt.Sprintf("%q is not a duration", node.Value),
			Hint: "write a number with a unit, as in 10s or 500ms",
		}
	}
	return nil
}
