// Package strict decodes JSON that must mean all of what it says: a misspelt limit
// must not be taken for its default.
package strict

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// Decode decodes one JSON value and refuses fields that v does not know, and anything
// behind the value.
func Decode(b []byte, v any) error {
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return errors.New("data after the object")
	}
	return nil
}

// Options decodes a target's own options into a driver's struct. No options leave
// into as it is; what is wrong with them is refused, an error of the caller's.
func Options(raw json.RawMessage, into any, refused error) error {
	if len(bytes.TrimSpace(raw)) == 0 {
		return nil
	}
	if err := Decode(raw, into); err != nil {
		return fmt.Errorf("decode options: %w: %w", err, refused)
	}
	return nil
}
