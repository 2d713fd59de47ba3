package history

import (
	"testing"
	"time"
)

func TestSampleQuantilesAreObserved(t *testing.T) {
	var values []time.Duration
	for i := 1000; i >= 1; i-- {
		values = append(values, time.Duration(i))
	}
	s := NewSample(SampleRTT, values, time.Second)
	for p, want := range map[float64]time.Duration{0.5: 500, 0.9: 900, 0.99: 990, 0.999: 999, 1: 1000} {
		if got := s.Quantile(p); got != want {
			t.Errorf("quantile %v = %d, want %d", p, got, want)
		}
	}
	if s.Max != 1000 || s.Count != 1000 || s.Over != time.Second {
		t.Errorf("%+v", s)
	}
	one := NewSample(SampleRTT, []time.Duration{7}, 0)
	if one.Quantile(0.5) != 7 || one.Quantile(0.999) != 7 || one.Max != 7 {
		t.Errorf("%+v", one)
	}
	if none := NewSample(SampleRTT, nil, 0); none.Count != 0 || none.Quantile(0.5) != 0 {
		t.Errorf("%+v", none)
	}
}
