package degrade

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
