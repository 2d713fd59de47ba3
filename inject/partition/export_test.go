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

// NewWithoutOwner asks for tables with a flag that no kernel knows, as the owner's
// is unknown before 5.12: the kernel itself refuses, and the fallback is taken.
func NewWithoutOwner() *Fault {
	f := New()
	f.owner = 1 << 7
	return f
}

// NewForwarding works as on a kernel without queues of user space.
func NewForwarding() *Fault {
	f := New()
	m, err := ask(f.owner)
	if err != nil {
		panic(err)
	}
	m.way = forward
	f.found = &m
	return f
}

// Spare says whether a socket of Prepare waits for its Inject.
func (f *Fault) Spare() bool {
	f.spare.mu.Lock()
	defer f.spare.mu.Unlock()
	return f.spare.conn != nil
}
