package inject

// Supporter is an optional ability of a Fault: to say, without a target, whether
// this kernel and these privileges can do it at all. Hello and doctor ask it.
type Supporter interface {
	// Support answers true, or false and what is missing.
	Support() (ok bool, why string)
}
