package lab

// hinted is an error with advice for the person who reads it.
type hinted struct {
	error
	hint string
}

// Hint adds advice to an error. HintOf finds it again.
func Hint(err error, hint string) error { return hinted{err, hint} }

// Hint returns the advice.
func (h hinted) Hint() string { return h.hint }

func (h hinted) Unwrap() error { return h.error }
