package resources

import (
	"fmt"
	"strings"
)

// Wire is what is sent as the token of e.
func (e Entry) Wire() string {
	if e.RawToken != "" {
		return e.RawToken
	}
	return e.Token.Wire()
}

// Scope is the part of a row's name before the first "/". All rows of a scope
// share one high-water mark, because one lock protects them: with a mark per row
// a stale holder could still write each row that the new holder has not touched.
func Scope(row string) string {
	scope, _, _ := strings.Cut(row, "/")
	return scope
}

// maxDigits bounds a token; no lock service issues numbers beyond 128 bits (39
// digits).
const maxDigits = 64

// Number reads a fencing token as a plain decimal number without leading zeros.
// Anything else is ErrRefused: a sign, a space or another base must not be taken
// for some number.
func Number(wire string) (string, error) {
	switch {
	case wire == "":
		return "", fmt.Errorf("read token: missing: %w", ErrRefused)
	case len(wire) > maxDigits:
		return "", fmt.Errorf("read token: %d characters, at most %d allowed: %w", len(wire), maxDigits, ErrRefused)
	case strings.Trim(wire, "0123456789") != "":
		return "", fmt.Errorf("read token: %q is not a decimal number: %w", wire, ErrRefused)
	}
	if trimmed := strings.TrimLeft(wire, "0"); trimmed != "" {
		return trimmed, nil
	}
	return "0", nil
}

// Below reports whether a is the smaller one of two results of Number. They are
// compared as text, by length and then digit by digit, without a bound of size.
func Below(a, b string) bool {
	if len(a) != len(b) {
		return len(a) < len(b)
	}
	return a < b
}
