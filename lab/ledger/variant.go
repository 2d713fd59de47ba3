package ledger

import (
	"fmt"
	"math/big"
	"strings"
)

// Variant says what the ledger does with fencing tokens.
type Variant string

// The variants.
const (
	// Ordered refuses a token below the highest one that it has accepted in the
	// row's scope. This is fencing as it should be.
	Ordered Variant = "ordered"
	// Idempotent is Ordered, and knows operations by their id: a write whose op_id
	// the row has accepted before changes nothing and is answered as it was then,
	// whatever its token.
	Idempotent Variant = "idempotent"
	// None stores the token and never looks at it.
	None Variant = "none"
	// Equality lets a row belong to the token of its first writer and refuses
	// every other one, as etcd's own storage sample does. It looks like fencing
	// and is the opposite: a holder that wrote once before it was paused still
	// gets in, and the new holder does not.
	Equality Variant = "equality"
)

// admission decides about one write under the ledger's lock: nil, an error that
// wraps ErrStale, or one that wraps ErrToken.
type admission func(s *state, row, token string) error

// admissions lists the variants in the order in which they are named to users.
var admissions = []struct {
	variant Variant
	admit   admission
}{
	{Ordered, admitOrdered},
	{Idempotent, admitOrdered},
	{None, admitAny},
	{Equality, admitEqual},
}

// ParseVariant reads a variant's word.
func ParseVariant(word string) (Variant, error) {
	if _, err := admissionOf(Variant(word)); err != nil {
		return "", err
	}
	return Variant(word), nil
}

func admissionOf(v Variant) (admission, error) {
	var words []string
	for _, a := range admissions {
		if a.variant == v {
			return a.admit, nil
		}
		words = append(words, string(a.variant))
	}
	return nil, fmt.Errorf("choose variant: unknown word %q, want one of %s", v, strings.Join(words, ", "))
}

func admitAny(*state, string, string) error { return nil }

func admitOrdered(s *state, row, token string) error {
	order, err := parseOrder(token)
	if err != nil {
		return err
	}
	if mark := s.marks[Scope(row)]; mark != nil && order.Cmp(mark) < 0 {
		return fmt.Errorf("%w: token %s is below %s, the highest accepted for %q", ErrStale, order, mark, Scope(row))
	}
	return nil
}

func admitEqual(s *state, row, token string) error {
	if token == "" {
		return fmt.Errorf("%w: missing", ErrToken)
	}
	if owner, taken := s.owners[row]; taken && owner != token {
		return fmt.Errorf("%w: token %s is not %s, the token of row %q", ErrStale, token, owner, row)
	}
	return nil
}

// maxTokenDigits bounds a token: parsing decimal is quadratic, and no lock
// service issues numbers beyond 128 bits (39 digits).
const maxTokenDigits = 64

// parseOrder reads a token as a plain decimal number: digits only, so that signs,
// spaces, underscores and other bases are refused and not read as something else.
func parseOrder(token string) (*big.Int, error) {
	switch {
	case token == "":
		return nil, fmt.Errorf("%w: missing", ErrToken)
	case len(token) > maxTokenDigits:
		return nil, fmt.Errorf("%w: %d characters, at most %d allowed", ErrToken, len(token), maxTokenDigits)
	case strings.Trim(token, "0123456789") != "":
		return nil, fmt.Errorf("%w: %q is not a decimal number", ErrToken, token)
	}
	order, ok := new(big.Int).SetString(token, 10)
	if !ok {
		return nil, fmt.Errorf("%w: %q is not a decimal number", ErrToken, token)
	}
	return order, nil
}
