package history

import (
	"encoding/json"
	"fmt"
	"math/big"
)

// Token is what a lock service hands out with a grant. ID identifies the hold
// (a Redis random value, an etcd CreateRevision) and is compared only for
// equality. Order is set only where the backend promises that a later grant has
// a larger number: only such tokens can fence by "not below the highest seen".
//
// The zero Token means "no token".
type Token struct {
	ID    string
	Order *big.Int
}

// OrderedToken is a token whose identity is its number, as etcd's
// CreateRevision and ZooKeeper's czxid are.
func OrderedToken(n int64) Token {
	order := big.NewInt(n)
	return Token{ID: order.String(), Order: order}
}

// IsZero reports whether there is no token at all.
func (t Token) IsZero() bool { return t.ID == "" && t.Order == nil }

// Equal reports whether both are the same token.
func (t Token) Equal(u Token) bool {
	if t.ID != u.ID || (t.Order == nil) != (u.Order == nil) {
		return false
	}
	return t.Order == nil || t.Order.Cmp(u.Order) == 0
}

// Compare orders two tokens as big.Int.Cmp does. ok is false when either has no
// order, and then nothing can be said about which is newer.
func (t Token) Compare(u Token) (cmp int, ok bool) {
	if t.Order == nil || u.Order == nil {
		return 0, false
	}
	return t.Order.Cmp(u.Order), true
}

// Wire is the form in which a token is sent to a protected resource: its number
// in decimal where it has one, its identity otherwise, "" for the zero token.
func (t Token) Wire() string {
	if t.Order != nil {
		return t.Order.String()
	}
	return t.ID
}

// String is the form for people.
func (t Token) String() string {
	if t.IsZero() {
		return "none"
	}
	return t.Wire()
}

// tokenJSON carries the number as a decimal string: JSON numbers lose precision
// above 2^53 in most readers.
type tokenJSON struct {
	ID    string `json:"id,omitempty"`
	Order string `json:"order,omitempty"`
}

// MarshalJSON writes {"id":"…","order":"…"}.
func (t Token) MarshalJSON() ([]byte, error) {
	out := tokenJSON{ID: t.ID}
	if t.Order != nil {
		out.Order = t.Order.String()
	}
	return json.Marshal(out)
}

// maxOrderDigits bounds a decoded order: parsing decimal is quadratic, and no
// backend issues numbers beyond 128 bits.
const maxOrderDigits = 64

// UnmarshalJSON reads what MarshalJSON writes and refuses an order that is not a
// plain decimal integer.
func (t *Token) UnmarshalJSON(data []byte) error {
	var in tokenJSON
	if err := json.Unmarshal(data, &in); err != nil {
		return fmt.Errorf("decode token: %w", err)
	}
	out := Token{ID: in.ID}
	if in.Order != "" {
		if len(in.Order) > maxOrderDigits {
			return fmt.Errorf("decode token: order has %d digits, at most %d allowed", len(in.Order), maxOrderDigits)
		}
		order, ok := new(big.Int).SetString(in.Order, 10)
		if !ok {
			return fmt.Errorf("decode token: order %q is not a decimal integer", in.Order)
		}
		out.Order = order
	}
	*t = out
	return nil
}
