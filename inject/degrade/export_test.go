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

// Kept are the connections that an order leaves as they are, in words.
func Kept(params []byte) (said []string, err error) {
	o, err := decodeParams(params)
	for _, k := range o.kept {
		said = append(said, k.said)
	}
	return said, err
}
