package audit

import (
	"slices"
	"testing"
)

// TestApart: a server on the node itself is not what the node can be cut off from.
func TestApart(t *testing.T) {
	others, own := apart([]string{"10.0.0.1", "10.0.0.2", "10.0.0.3"}, []string{"10.0.0.2", "fd00::2"})
	if !slices.Equal(others, []string{"10.0.0.1", "10.0.0.3"}) || !slices.Equal(own, []string{"10.0.0.2"}) {
		t.Errorf("others %v, own %v", others, own)
	}
	if others, own = apart([]string{"10.0.0.2"}, []string{"10.0.0.2"}); len(others) != 0 || len(own) != 1 {
		t.Errorf("of one server alone: others %v, own %v", others, own)
	}
}
