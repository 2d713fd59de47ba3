package survey

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"unicode"
)

// MaxValue is how much of a value is worth reading: owners are shorter.
const MaxValue = 128

var (
	uuidForm   = regexp.MustCompile(`^[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}$`)
	hexForm    = regexp.MustCompile(`^[0-9a-fA-F]{16,}$`)
	base64Form = regexp.MustCompile(`^[A-Za-z0-9+/_-]{20,}={0,2}$`)
	// threadForm is Redisson's field: the client's UUID and the thread's number.
	threadForm = regexp.MustCompile(`^[0-9a-fA-F-]{36}:\d+$`)
	// hostForm is a machine with a process or thread: app-1:4711, worker@app-1/12.
	hostForm = regexp.MustCompile(`^([A-Za-z][A-Za-z0-9._@-]*|\d+\.\d+\.\d+\.\d+)[:/@#][A-Za-z0-9._:@/-]*\d+$`)
	number   = regexp.MustCompile(`^-?\d+(\.\d+)?$`)
)

// owner is the form of a value, in words, and whether only an owner looks like that.
func owner(value string) (words string, likely bool) {
	switch {
	case value == "":
		return "empty", false
	case len(value) >= MaxValue:
		return fmt.Sprintf("%d characters or more", MaxValue), false
	case uuidForm.MatchString(value):
		return "a UUID", true
	case threadForm.MatchString(value):
		return "a UUID and a thread, as Redisson writes it", true
	case number.MatchString(value):
		return "a number", false
	case hexForm.MatchString(value):
		return fmt.Sprintf("%d hexadecimal digits", len(value)), true
	case hostForm.MatchString(value):
		return "a machine and a process", true
	case base64Form.MatchString(value) && mixed(value):
		return fmt.Sprintf("%d random characters", len(value)), true
	case strings.ContainsFunc(value, unicode.IsControl) || !printable(value):
		if len(value) == 16 || len(value) == 20 || len(value) == 32 {
			return fmt.Sprintf("%d random bytes", len(value)), true
		}
		return fmt.Sprintf("%d bytes", len(value)), false
	case strings.ContainsAny(value[:1], "{[<\""):
		return fmt.Sprintf("a document of %d characters", len(value)), false
	}
	return fmt.Sprintf("%d characters", len(value)), false
}

// mixed tells random characters from words: they have digits and both cases.
func mixed(s string) bool {
	return strings.ContainsFunc(s, unicode.IsDigit) && strings.ContainsFunc(s, unicode.IsUpper) && strings.ContainsFunc(s, unicode.IsLower)
}

func printable(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r == unicode.ReplacementChar })
}

// lockWords are in the names of locks.
var lockWords = []string{"lock", "mutex", "lease", "leader", "election", "semaphore", "redlock", "shedlock", "singleton"}

// namedAsLock finds such a word, at the beginning or end of a part of the name:
// "order-lock" and "lockOrder" are locks, "block:7" and "clocks" are not.
func namedAsLock(key string) (word string, ok bool) {
	for _, part := range words(key) {
		for _, w := range lockWords {
			if part == w || part == w+"s" {
				return w, true
			}
		}
	}
	return "", false
}

// Named reports whether a key is named as a lock.
func Named(key string) bool {
	_, ok := namedAsLock(key)
	return ok
}

// words are the parts of a name, in lower case, split where letters end and where an
// upper-case one follows a lower-case one.
func words(key string) []string {
	var out []string
	var word []rune
	var last rune
	end := func() {
		if len(word) > 0 {
			out = append(out, strings.ToLower(string(word)))
		}
		word = nil
	}
	for _, r := range key {
		switch {
		case !unicode.IsLetter(r):
			end()
		case unicode.IsUpper(r) && unicode.IsLower(last):
			end()
			word = append(word, r)
		default:
			word = append(word, r)
		}
		last = r
	}
	end()
	return out
}

// separators split a name into parts of which one may vary.
const separators = ":/.#|{}"

// pattern replaces the parts of a name that look like somebody's number or identity.
func pattern(key string) string {
	parts := split(key)
	for i, p := range parts {
		if len(p) == 1 && strings.Contains(separators, p) {
			continue
		}
		if number.MatchString(p) || uuidForm.MatchString(p) || len(p) >= 8 && hexForm.MatchString(p+"00000000") && strings.ContainsFunc(p, unicode.IsDigit) {
			parts[i] = "*"
		}
	}
	return strings.Join(parts, "")
}

// split keeps the separators as parts of their own.
func split(key string) []string {
	var out []string
	for key != "" {
		i := strings.IndexAny(key, separators)
		switch {
		case i < 0:
			return append(out, key)
		case i > 0:
			out = append(out, key[:i])
		}
		out = append(out, key[i:i+1])
		key = key[i+1:]
	}
	return out
}

// parent is a name without its last part, and whether it has one: a:b:c → a:b:*.
func parent(key string) (string, bool) {
	i := strings.LastIndexAny(strings.TrimRight(key, separators), separators)
	if i <= 0 {
		return "", false
	}
	return key[:i+1] + "*", true
}

// common counts how many names share a parent.
func common(keys []string) map[string]int {
	out := map[string]int{}
	for _, k := range slices.Compact(slices.Sorted(slices.Values(keys))) {
		if p, ok := parent(k); ok {
			out[p]++
		}
	}
	return out
}
