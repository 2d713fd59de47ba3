package lockaudit

import (
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/lockaudit/lockaudit/"

// layers is the import table of docs/architecture.md: a package may import its
// own subtree's root and what is named here, nothing else of the project. A
// package that is not in the table fails the test, so that the table stays whole.
var layers = map[string][]string{
	"strict":  {},
	"history": {},
	"facts":   {},
	"record":  {"history", "facts"},
	"survey":  {"facts"},
	"locks":   {"history", "facts", "strict", "survey"},
	// Its servers are Redis servers.
	"locks/redlock": {"locks", "locks/redis", "history", "facts", "strict"},
	"resources":     {"history", "strict"},
	"clients":       {"locks", "resources", "history", "facts"},
	"inject":        {"inject/target", "inject/netns", "strict"},
	"inject/hold":   {"inject", "inject/partition"},
	"measure":       {"history", "inject", "inject/target"},
	"agent":         {"inject", "inject/target", "measure"},
	"agent/trail":   {"inject"},
	"rules":         {"record"},
	"plan":          {"locks", "resources", "survey"},
	"probes":        {"record", "history", "facts", "clients", "locks", "survey"},
	"tap":           {},
	"audit":         {"plan", "rules", "probes", "agent", "measure", "record", "history", "facts", "clients", "inject", "inject/target", "tap"},
	"checklist":     {"record", "history", "facts"},
	"reports":       {"checklist", "record", "history", "facts"},
	"lab":           {"plan"},
	"lab/ledger":    {},
	// Virtual machines for tests.
	"lab/vm":       {},
	"lab/vm/wire":  {},
	"lab/vm/guest": {"lab/vm/wire"},
	"lab/vm/exec":  {"lab/vm/wire"},
	"lab/vm/tests": {},

	"cmd/lockaudit":       {"*"},
	"cmd/lockaudit-agent": {"agent", "agent/trail", "inject"},
	"cmd/locklab":         {"lab", "plan"},
	"bench":               {"*"},
}

// conformance suites and fixtures are test code in packages of their own.
var suites = map[string]bool{"conformance": true, "locks/locktest": true, "locks/locktest/servers": true, "resources/resourcetest": true, "inject/injecttest": true, "inject/target/systemdtest": true, "agent/sshtest": true}

func TestImportsFollowTheTable(t *testing.T) {
	checked := 0
	for file, imports := range projectImports(t) {
		checked++
		dir := filepath.ToSlash(filepath.Dir(file))
		if dir == "." || suites[dir] {
			continue
		}
		allowed, ok := rule(dir)
		if !ok {
			t.Errorf("%s: package %s is not in the table of arch_test.go", file, dir)
			continue
		}
		for _, imp := range imports {
			if suites[imp] {
				t.Errorf("%s imports the conformance suite %s outside a test", file, imp)
			}
			if !permits(allowed, dir, imp) {
				t.Errorf("%s: %s may not import %s", file, dir, imp)
			}
		}
	}
	if checked < 30 {
		t.Errorf("only %d files were checked: the walk does not see the project", checked)
	}
}

// rule finds the table's row for a folder: its own, or its parent's with the
// parent added ("x/<kind> imports x").
func rule(dir string) ([]string, bool) {
	if allowed, ok := layers[dir]; ok {
		return allowed, true
	}
	parent, _, found := strings.Cut(dir, "/")
	if !found {
		return nil, false
	}
	allowed, ok := layers[parent]
	return append([]string{parent}, allowed...), ok
}

func permits(allowed []string, dir, imp string) bool {
	for _, a := range allowed {
		if a == "*" || a == imp {
			return true
		}
		// A package that may import x may import its kinds only through x/all or
		// the explicit list in x itself.
		if imp == a+"/all" {
			return true
		}
	}
	// x and x/all list the kinds of x.
	return strings.HasPrefix(imp, dir+"/") || (strings.HasSuffix(dir, "/all") && strings.HasPrefix(imp, strings.TrimSuffix(dir, "all")))
}

// projectImports parses every non-test file and returns the project's own
// imports, by file. It parses in-process: `go list` from a test may be answered
// from a cache.
func projectImports(t *testing.T) map[string][]string {
	t.Helper()
	out := map[string][]string{}
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if name := d.Name(); path != "." && (strings.HasPrefix(name, ".") || name == "testdata" || name == "bin" || name == "runs") {
				return filepath.SkipDir
			}
			if _, err := os.Stat(filepath.Join(path, "go.mod")); path != "." && err == nil {
				return filepath.SkipDir // a module of its own: an example that a user copies
			}
			return nil
		}
		if !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return nil
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		out[path] = []string{}
		for _, spec := range file.Imports {
			name, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				return err
			}
			if own, ok := strings.CutPrefix(name, module); ok {
				out[path] = append(out[path], own)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// TestFaultsRunNothing: no shell, no exec of tc, iptables or ip in a fault.
func TestFaultsRunNothing(t *testing.T) {
	err := filepath.WalkDir("inject", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") || suites[filepath.ToSlash(filepath.Dir(path))] {
			return err
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		for _, spec := range file.Imports {
			if spec.Path.Value == `"os/exec"` {
				t.Errorf("%s imports os/exec", path)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
