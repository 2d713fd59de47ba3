package locks

import "fmt"

// Denied is a refusal for want of a permission, which it names as the service's
// administrator grants it.
type Denied struct {
	// Needs is that permission: "+config|get", "%R~orders:*", "read on /locks/".
	Needs string
	Err   error
}

func (d *Denied) Error() string { return fmt.Sprintf("needs the permission %s: %v", d.Needs, d.Err) }

func (d *Denied) Unwrap() error { return d.Err }
