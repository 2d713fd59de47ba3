package inject

import (
	"errors"
	"fmt"
	"time"
)

// Supporter is an optional ability of a Fault: to say, without a target, whether
// this kernel and these privileges can do it at all. Hello and doctor ask it.
type Supporter interface {
	// Support answers true, or false and what is missing.
	Support() (ok bool, why string)
}

// Asker is a Supporter that can tell "no" from "could not look".
type Asker interface {
	// Ask answers nil if it could look and it can be done, ErrUnsupported if it
	// cannot, and anything else if it could not look.
	Ask() error
}

// Answer is what is known about a fault on a node.
type Answer string

// The answers. Not to know is no no.
const (
	Yes     Answer = "yes"
	No      Answer = "no"
	Unknown Answer = "could not check"
)

// askLimit bounds one question to the kernel.
const askLimit = 5 * time.Second

// Supported asks a fault whether it can work here. The words with a Yes are what it
// cannot do all the same.
func Supported(f Fault) (Answer, string) {
	s, ok := f.(Supporter)
	if !ok {
		return Unknown, "this kind of fault does not say"
	}
	type said struct {
		answer Answer
		why    string
	}
	done := make(chan said, 1)
	go func() {
		ok, why := s.Support()
		if ok {
			done <- said{Yes, why}
			return
		}
		if a, can := f.(Asker); can {
			if err := a.Ask(); err != nil && !errors.Is(err, ErrUnsupported) {
				done <- said{Unknown, err.Error()}
				return
			}
		}
		done <- said{No, why}
	}()
	select {
	case d := <-done:
		return d.answer, d.why
	case <-time.After(askLimit):
		return Unknown, fmt.Sprintf("no answer from the kernel within %v", askLimit)
	}
}
