package trail

import (
	"regexp"
	"strings"
	"sync"
	"unicode"
	"unicode/utf8"
)

// What looks like a secret is taken out before a record is written: an error may
// quote a command line, and a user's own command may carry a password.
// Compiled when first needed: a guard at rest stays small.
var (
	urlPassword = once(`(://[^/\s:@]*:)[^@\s]+@`)
	// A word that names a secret, then its value after = : or a blank.
	namedSecret = once(`(?i)([\w-]*(?:password|passwd|passphrase|secret|credential|token|api[_-]?key|access[_-]?key|private[_-]?key)[\w-]*["']?(?:\s*[=:]\s*|\s+))("[^"]*"|'[^']*'|[^\s,;"']+)`)
	bearer      = once(`(?i)\b((?:authorization:\s*)?(?:bearer|basic)\s+)[A-Za-z0-9._~+/=-]{8,}`)
)

func once(expr string) func() *regexp.Regexp {
	return sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(expr) })
}

const redacted = "REDACTED"

// clean takes secrets and control characters out of a text, which will be shown on
// terminals, and bounds its length.
func clean(s string) string {
	s = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s, "?"))
	if suspicious(s) {
		s = urlPassword().ReplaceAllString(s, "${1}"+redacted+"@")
		s = bearer().ReplaceAllString(s, "${1}"+redacted)
		s = namedSecret().ReplaceAllString(s, "${1}"+redacted)
	}
	return cut(s, maxText)
}

// suspicious is a quick look before the expressions, which take a while and are on the
// way of every order: each of them needs one of these words. Beyond ASCII there are
// other spellings of a letter, so that the expressions decide.
func suspicious(s string) bool {
	for i := range len(s) {
		if s[i] >= utf8.RuneSelf {
			return true
		}
	}
	s = strings.ToLower(s)
	for _, word := range []string{"://", "bearer", "basic", "pass", "secret", "credential", "token", "key"} {
		if strings.Contains(s, word) {
			return true
		}
	}
	return false
}

func cut(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return strings.ToValidUTF8(s[:n], "") + " …"
}
