package inject

import (
	"regexp"
	"sync"
)

// Pattern is a regular expression that takes memory only once it is needed: an
// agent at rest is to stay small.
func Pattern(expr string) func() *regexp.Regexp {
	return sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(expr) })
}
