package plan

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"reflect"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// File is a plan file: one lock, or several that share nodes, hooks and limits.
type File struct {
	// Name is the file's, which is the lock's where there is one.
	Name string
	// Locks are the plans, in the order of the file; there is at least one.
	Locks []*Plan
	// Several: the file has a list of locks, even if of one.
	Several bool
	// Data is the file as it was read.
	Data []byte
}

// maxLocks bounds how many plans a file turns into.
const maxLocks = 200

// LoadFile reads and parses a plan file.
func LoadFile(path string) (*File, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("read plan: %w", err)
	}
	if info.Size() > maxSize {
		return nil, fmt.Errorf("read plan %s: %d bytes is too large for a plan file", path, info.Size())
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read plan: %w", err)
	}
	f, err := ParseFile(data)
	if err != nil {
		return nil, fmt.Errorf("read plan %s: %w", path, err)
	}
	return f, nil
}

// Load reads a plan file for what all of its locks share: nodes, hooks and limits. Of
// several locks it returns the first.
func Load(path string) (*Plan, []byte, error) {
	f, err := LoadFile(path)
	if err != nil {
		return nil, nil, err
	}
	return f.Locks[0], f.Data, nil
}

// ParseFile decodes a plan file; see Parse. Each entry of locks is laid over the rest of
// the file, and becomes a plan of its own.
func ParseFile(data []byte) (*File, error) {
	root, err := document(data)
	if err != nil {
		return nil, err
	}
	base, locks, err := split(root)
	if err != nil {
		return nil, err
	}
	if locks == nil {
		p, err := parse(base)
		if err != nil {
			return nil, err
		}
		return &File{Name: p.Name, Locks: []*Plan{p}, Data: data}, nil
	}
	f := &File{Several: true, Data: data}
	if name := valueOf(base, "name"); name != nil {
		f.Name = name.Value
	}
	if !nodeName.MatchString(f.Name) {
		return nil, &Error{Msg: fmt.Sprintf("name %q is not a name", f.Name), Hint: "the file needs one besides its locks: lower-case letters, digits, dot, dash and underscore"}
	}
	for i, entry := range locks.Content {
		p, err := parseEntry(base, entry)
		if err != nil {
			return nil, named(err, i, entry)
		}
		if slices.ContainsFunc(f.Locks, func(other *Plan) bool { return other.Name == p.Name }) {
			return nil, &Error{Line: entry.Line, Column: entry.Column, Msg: fmt.Sprintf("lock %q is named twice", p.Name)}
		}
		p.File = f.Name
		f.Locks = append(f.Locks, p)
	}
	return f, nil
}

// document is the one document of a file. A second one would be ignored by the decoder,
// and with it whatever limit it sets.
func document(data []byte) (*yaml.Node, error) {
	decoder := yaml.NewDecoder(bytes.NewReader(data))
	var doc, next yaml.Node
	err := decoder.Decode(&doc)
	switch {
	case errors.Is(err, io.EOF), err == nil && len(doc.Content) == 0:
		return nil, &Error{Msg: "the plan is empty", Hint: "see examples/plan.yaml"}
	case err != nil:
		return nil, explain(err)
	}
	if err := decoder.Decode(&next); !errors.Is(err, io.EOF) {
		if err != nil {
			return nil, explain(err)
		}
		return nil, &Error{Line: next.Line, Column: next.Column, Msg: "the plan has a second document", Hint: "several locks are a list: locks: [{name: …, lock: {…}}, …]"}
	}
	return doc.Content[0], nil
}

// split takes the list of locks out of a file; nil if it has none.
func split(root *yaml.Node) (base, locks *yaml.Node, err error) {
	copied := *root
	base = &copied
	if root.Kind != yaml.MappingNode {
		return base, nil, nil
	}
	base.Content = nil
	for i := 0; i+1 < len(root.Content); i += 2 {
		key, value := root.Content[i], root.Content[i+1]
		if key.Value != "locks" {
			base.Content = append(base.Content, key, value)
			continue
		}
		switch {
		case locks != nil:
			return nil, nil, &Error{Line: key.Line, Column: key.Column, Msg: `key "locks" is given twice`}
		case value.Kind != yaml.SequenceNode || len(value.Content) == 0:
			return nil, nil, &Error{Line: key.Line, Column: key.Column, Msg: "locks is not a list of locks", Hint: "for example locks: [{name: billing, lock: {key: /locks/billing}}]"}
		case len(value.Content) > maxLocks:
			return nil, nil, &Error{Line: key.Line, Column: key.Column, Msg: fmt.Sprintf("%d locks are more than one plan may have", len(value.Content)), Hint: fmt.Sprintf("at most %d", maxLocks)}
		}
		locks = value
	}
	if w := keyOf(base, "waivers"); w != nil && locks != nil {
		return nil, nil, &Error{Line: w.Line, Column: w.Column, Msg: "waivers stand beside locks", Hint: "a waiver is for one lock: move it into the entry of that lock"}
	}
	return base, locks, nil
}

// shared are the keys that belong to the whole file: limits would not be limits if every
// lock had its own.
var shared = []string{"nodes", "hooks", "safety"}

// parseEntry lays one lock over the file: its keys replace the file's, and those of lock
// are replaced one by one, so that endpoints and TLS need not be repeated.
func parseEntry(base, entry *yaml.Node) (*Plan, error) {
	if entry.Kind != yaml.MappingNode {
		return nil, &Error{Line: entry.Line, Column: entry.Column, Msg: "it is not a mapping", Hint: "for example {name: billing, lock: {key: /locks/billing}}"}
	}
	if keyOf(entry, "name") == nil {
		return nil, &Error{Line: entry.Line, Column: entry.Column, Msg: "it has no name", Hint: "each of locks needs a name of its own"}
	}
	// As written, before anything is replaced: a key given twice must not pass.
	if err := checkKeys(entry, reflect.TypeFor[Plan]()); err != nil {
		return nil, err
	}
	for _, name := range shared {
		if key := keyOf(entry, name); key != nil {
			return nil, &Error{Line: key.Line, Column: key.Column, Msg: fmt.Sprintf("key %q belongs to the whole file", name), Hint: fmt.Sprintf("move %s beside locks, so that it holds for every lock", name)}
		}
	}
	if err := checkKeys(base, reflect.TypeFor[Plan]()); err != nil {
		return nil, err
	}
	return parse(laidOver(base, entry, "lock"))
}

// laidOver is base with the keys of top; those in merged are mappings and laid over each
// other in turn.
func laidOver(base, top *yaml.Node, merged ...string) *yaml.Node {
	out := *base
	out.Content = slices.Clone(base.Content)
	for i := 0; i+1 < len(top.Content); i += 2 {
		key, value := top.Content[i], top.Content[i+1]
		at := -1
		for j := 0; j+1 < len(out.Content); j += 2 {
			if out.Content[j].Value == key.Value {
				at = j
			}
		}
		switch {
		case at < 0:
			out.Content = append(out.Content, key, value)
		case slices.Contains(merged, key.Value) && out.Content[at+1].Kind == yaml.MappingNode && value.Kind == yaml.MappingNode:
			out.Content[at+1] = laidOver(out.Content[at+1], value)
		default:
			out.Content[at], out.Content[at+1] = key, value
		}
	}
	return &out
}

// named says which of the locks a mistake is in.
func named(err error, i int, entry *yaml.Node) error {
	name := fmt.Sprintf("number %d", i+1)
	if v := valueOf(entry, "name"); v != nil && nodeName.MatchString(v.Value) {
		name = v.Value
	}
	var e *Error
	if !errors.As(err, &e) {
		return fmt.Errorf("lock %s: %w", name, err)
	}
	out := *e
	out.Msg = fmt.Sprintf("lock %s: %s", name, strings.TrimPrefix(e.Msg, "lock "+name+": "))
	return &out
}

func keyOf(node *yaml.Node, name string) *yaml.Node {
	for i := 0; i+1 < len(node.Content); i += 2 {
		if node.Content[i].Value == name {
			return node.Content[i]
		}
	}
	return nil
}

func valueOf(node *yaml.Node, name string) *yaml.Node {
	for i := 0; i+1 < len(node.Content); i += 2 {
		if node.Content[i].Value == name {
			return node.Content[i+1]
		}
	}
	return nil
}
