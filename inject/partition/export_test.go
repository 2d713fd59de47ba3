package partition

// FailAt has Inject fail after a step.
func (f *Fault) FailAt(step string, err error) *Fault {
	f.step = func(name string) error {
		if name == step {
			return err
		}
		return nil
	}
	return f
}

// NewWithoutOwner works as on a kernel without tables that have an owner.
func NewWithoutOwner() *Fault {
	f := New()
	f.owner = 0
	return f
}
