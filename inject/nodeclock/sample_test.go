package nodeclock

import (
	"testing"
	"time"
)

// TestTogether: whoever is kept from running between any two readings reads what the
// clocks show at one instant all the same.
func TestTogether(t *testing.T) {
	const apart = 12_345 * int64(time.Second)
	for every := 2; every <= 30; every++ {
		now, n := int64(time.Hour), 0
		read := func(clock int32) (int64, error) {
			now += 100
			if n++; n%every == 0 {
				now += int64(10 * time.Millisecond)
			}
			return now + int64(clock)*apart, nil
		}
		o, i, err := together(read, 0, 1)
		if d := i - o - apart; err != nil || every > 3 && abs(d) > 1000 {
			t.Errorf("held up at every %dth reading: %d ns off, %v", every, d, err)
		}
	}
}

// TestTogetherGoesOn: if all of the usual readings are wide there are more.
func TestTogetherGoesOn(t *testing.T) {
	now, n := int64(time.Hour), 0
	o, i, err := together(func(int32) (int64, error) {
		now += 100
		if n++; n < 3*readings*2 {
			now += int64(10 * time.Millisecond)
		}
		return now, nil
	}, 0, 1)
	if d := i - o; err != nil || abs(d) > 1000 {
		t.Errorf("%d ns off, %v", d, err)
	}
}

// TestReadClocks: what a real reading of a machine that does not sleep is good to.
func TestReadClocks(t *testing.T) {
	a, err := readClocks()
	if err != nil {
		t.Fatal(err)
	}
	for range 100 {
		b, err := readClocks()
		if err != nil {
			t.Fatal(err)
		}
		if slept(a, b) != 0 {
			t.Fatalf("%v, then %v: asleep for %d ns", a, b, slept(a, b))
		}
	}
}

func TestSlept(t *testing.T) {
	for d, want := range map[time.Duration]time.Duration{
		0: 0, 900 * time.Microsecond: 0, -900 * time.Microsecond: 0, 2 * time.Millisecond: 2 * time.Millisecond, time.Hour + 7: time.Hour + 7,
	} {
		if got := slept(sample{Asleep: 5}, sample{Asleep: 5 + int64(d)}); got != int64(want) {
			t.Errorf("%v more: asleep for %d, want %d", d, got, want)
		}
	}
}
